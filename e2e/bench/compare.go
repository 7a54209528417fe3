package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// compare runs every load on two binaries in ABBA order, so that slow changes of the machine cancel out, and prints both.
func compare(ctx context.Context, s settings, dir string) error {
	var srv [2]*server
	for i, bin := range []string{s.bin, s.against} {
		var err error
		if srv[i], err = s.start(ctx, bin, filepath.Join(dir, fmt.Sprintf("data%d", i))); err != nil {
			return err
		}
		defer srv[i].stop()
	}
	fmt.Printf("A %s, B %s; %.1f s a run, %d times ABBA\n\n", s.bin, s.against, s.seconds, s.repeat)
	fmt.Println("| operation | size | clients | CPU us/op A | CPU us/op B | A/B | ops/s A | ops/s B | p50 A | p50 B |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, size := range s.sizes {
		for _, clients := range s.clients {
			for _, op := range s.ops {
				l := load{op: op, size: size, clients: clients, signed: !s.unsigned, length: time.Duration(s.seconds * float64(time.Second))}
				if err := s.compareOne(ctx, l, srv); err != nil {
					return fmt.Errorf("%s %d: %w", op, size, err)
				}
			}
		}
	}
	return nil
}

func (s settings) compareOne(ctx context.Context, l load, srv [2]*server) error {
	warm := l
	warm.length = l.length / 4
	for _, one := range srv {
		if _, err := warm.run(ctx, one); err != nil {
			return err
		}
	}
	var got [2][]result
	for range s.repeat {
		for _, i := range []int{0, 1, 1, 0} {
			r, err := l.run(ctx, srv[i])
			if err != nil {
				return err
			}
			got[i] = append(got[i], r)
		}
	}
	mid := func(i int, f func(result) float64) float64 {
		var v []float64
		for _, r := range got[i] {
			v = append(v, f(r))
		}
		slices.Sort(v)
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	cpu := func(r result) float64 { return r.cpuPerOp * 1e6 }
	rate := func(r result) float64 { return r.rate }
	p50 := func(r result) float64 { return float64(r.p50) / 1e6 }
	fmt.Printf("| %s | %s | %d | %.1f | %.1f | %.2f | %.0f | %.0f | %.2f ms | %.2f ms |\n", l.op, sizeName(l.size), l.clients, mid(0, cpu), mid(1, cpu),
		mid(0, cpu)/mid(1, cpu), mid(0, rate), mid(1, rate), mid(0, p50), mid(1, p50))
	return nil
}
