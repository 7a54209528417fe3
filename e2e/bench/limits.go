package main

import (
	"crypto/md5"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/minio/sha256-simd"
)

// limits of the machine, in one run with what is compared to them.
type limits struct {
	hash     float64         // bytes/s of one core through SHA-256, MD5 and CRC64NVME, one after the other
	write    float64         // bytes/s, buffered, fdatasync every 4 MiB
	loopback float64         // bytes/s over one TCP connection on loopback
	commits  map[int]float64 // writers -> 4 KiB appends/s with group commit, prewritten file
}

// limitRounds is how often the limits are measured: other work on the machine only ever lowers them, so the best counts.
const limitRounds = 3

func measureLimits(dir string, writers []int) (best limits, err error) {
	best.commits = map[int]float64{}
	for range limitRounds {
		l, err := measureOnce(dir, writers)
		if err != nil {
			return best, err
		}
		best.hash, best.write, best.loopback = max(best.hash, l.hash), max(best.write, l.write), max(best.loopback, l.loopback)
		for w, v := range l.commits {
			best.commits[w] = max(best.commits[w], v)
		}
	}
	return best, nil
}

func measureOnce(dir string, writers []int) (limits, error) {
	l := limits{commits: map[int]float64{}, hash: hashLimit()}
	var err error
	if l.write, err = writeLimit(filepath.Join(dir, "write")); err != nil {
		return l, err
	}
	for _, w := range writers {
		if l.commits[w], err = commitLimit(filepath.Join(dir, "commit"), w); err != nil {
			return l, err
		}
	}
	l.loopback, err = loopbackLimit()
	return l, err
}

func (l limits) print() {
	fmt.Println("| limit of this run | figure |")
	fmt.Println("|---|---|")
	fmt.Printf("| SHA-256 + MD5 + CRC64NVME, one core | %.0f MiB/s |\n", l.hash/(1<<20))
	fmt.Printf("| buffered write, fdatasync per 4 MiB | %.0f MiB/s |\n", l.write/(1<<20))
	fmt.Printf("| hash, then write (bound of a PUT) | %.0f MiB/s |\n", l.putBytes()/(1<<20))
	for _, w := range slices.Sorted(maps.Keys(l.commits)) {
		fmt.Printf("| group commit of 4 KiB, %d writers | %.0f/s |\n", w, l.commits[w])
	}
	fmt.Printf("| loopback TCP, one connection | %.0f MiB/s |\n", l.loopback/(1<<20))
}

// putBytes is the hashing-and-write bound: a byte is hashed by one core and then written.
func (l limits) putBytes() float64 { return 1 / (1/l.hash + 1/l.write) }

// of gives the limit that a load is compared to, in operations per second.
func (l limits) of(x load) (string, float64) {
	switch {
	case x.op == "PUT" && x.size >= 1<<20:
		return "hash+write", l.putBytes() / float64(x.size)
	case x.op == "PUT":
		return "group commit", l.commits[x.clients]
	case x.op == "GET" && x.size >= 1<<20:
		return "loopback", l.loopback / float64(x.size)
	}
	return "", 0
}

func hashLimit() float64 {
	block := make([]byte, 64<<10)
	s, m, c := sha256.New(), md5.New(), crc64nvme.New()
	n := 0
	begin := time.Now()
	for time.Since(begin) < time.Second {
		_, _ = s.Write(block)
		_, _ = m.Write(block)
		_, _ = c.Write(block)
		n += len(block)
	}
	return float64(n) / time.Since(begin).Seconds()
}

func writeLimit(path string) (float64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close(); _ = os.Remove(path) }()
	const size = 512 << 20
	block := make([]byte, 4<<20)
	begin := time.Now()
	for off := int64(0); off < size; off += int64(len(block)) {
		if _, err := f.WriteAt(block, off); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return size / time.Since(begin).Seconds(), nil
}

// commitLimit: writers hand 4 KiB records to one committer, which writes all that wait and syncs once.
func commitLimit(path string, writers int) (float64, error) {
	const record, fileBytes = 4 << 10, 64 << 20
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close(); _ = os.Remove(path) }()
	if _, err := f.WriteAt(make([]byte, fileBytes), 0); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	queue := make(chan chan struct{}, writers)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			done := make(chan struct{}, 1)
			for {
				select {
				case queue <- done:
					<-done
				case <-stop:
					return
				}
			}
		})
	}
	buf := make([]byte, record*writers)
	n, off := 0, int64(0)
	begin := time.Now()
	var failed error
	for time.Since(begin) < time.Second && failed == nil {
		group := []chan struct{}{<-queue}
		for len(queue) > 0 {
			group = append(group, <-queue)
		}
		size := int64(record * len(group))
		if off+size > fileBytes {
			off = 0
		}
		if _, failed = f.WriteAt(buf[:size], off); failed == nil {
			failed = syscall.Fdatasync(int(f.Fd()))
		}
		off += size
		n += len(group)
		for _, d := range group {
			d <- struct{}{}
		}
	}
	rate := float64(n) / time.Since(begin).Seconds()
	close(stop)
	drained := make(chan struct{})
	go func() { wg.Wait(); close(drained) }()
	for {
		select {
		case d := <-queue:
			d <- struct{}{}
		case <-drained:
			return rate, failed
		}
	}
}

func loopbackLimit() (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		block := make([]byte, 1<<20)
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	buf := make([]byte, 1<<20)
	n := 0
	begin := time.Now()
	for time.Since(begin) < time.Second {
		m, err := c.Read(buf)
		if err != nil {
			return 0, err
		}
		n += m
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}
