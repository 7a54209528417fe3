package segment

import (
	"encoding/binary"
	"errors"
	"io"

	"minikv/internal/errs"
	"minikv/volume/record"
)

// Gap is a piece of a segment that does not parse, from From up to To, in bytes.
type Gap struct{ From, To int64 }

// Visit is called by Scan for a record at off. data is that of a record that is no blob, verified; it is only valid during the call.
type Visit func(off int64, h record.Header, data []byte) error

// Scan goes through the records from from up to end, in order, and returns what does not parse. It reads headers of blobs and all of
// other records. An error means that the segment could not be read, is newer than this program, or is that of visit.
func (f *File) Scan(from, end int64, visit Visit) ([]Gap, error) {
	if !f.Acquire() { // a closed file reads as zeros, which would pass for damage
		return nil, errs.E("segment.Scan", errs.Unavailable, "segment %s is closed", Name(f.Number, f.Kind))
	}
	defer f.Release()
	w := &window{f: f, end: min(end, f.Capacity)}
	return scan(w, from, visit)
}

// Tail is what FindEnd finds.
type Tail struct {
	Durable int64 // everything below was on disk for sure
	End     int64 // whole records end here; from Durable up to here nobody was promised anything
}

// FindEnd finds where a segment ends that no seal record speaks of; see the package's third rule. visit, which may be nil, sees
// every record that parses as in Scan, also those that turn out not to count. All below from, a record's begin, is known to be on disk
// and is not read.
func (f *File) FindEnd(from int64, visit Visit) (Tail, error) {
	w := &window{f: f, end: f.Capacity}
	t := Tail{Durable: from, End: from}
	type span struct{ from, to int64 }
	var last []span // records from Durable on
	gaps, err := scan(w, from, func(off int64, h record.Header, data []byte) error {
		if visit != nil {
			if err := visit(off, h, data); err != nil {
				return err
			}
		}
		to := off + int64(f.Layout().Size(int(h.Length)))
		if d := int64(h.DurableTo); d > t.Durable && d <= off {
			t.Durable = d
			keep := last[:0]
			for _, s := range last {
				if s.to > d {
					keep = append(keep, s)
				}
			}
			last = keep
		}
		last = append(last, span{off, to})
		t.End = to
		return nil
	})
	if err != nil {
		return Tail{}, err
	}
	for _, g := range gaps {
		if g.To > t.Durable && g.From < t.End { // it may begin below: then nothing of the tail counts
			t.End = max(g.From, t.Durable)
			break
		}
	}
	for _, s := range last {
		if s.to > t.Durable && s.from < t.End {
			if ok, err := f.verifyRecord(s.from); err != nil {
				return Tail{}, err
			} else if !ok && s.from >= t.Durable {
				t.End = s.from
			}
		}
	}
	t.End = max(t.End, t.Durable)
	return t, nil
}

// scan visits what parses from off on and returns the gaps.
func scan(w *window, off int64, visit Visit) ([]Gap, error) {
	var gaps []Gap
	gap := int64(-1)
	layout := w.f.Layout()
	for off+record.HeaderLen <= w.end {
		h, data, ok, err := w.record(off)
		if err != nil {
			return nil, err
		}
		if !ok {
			if gap < 0 {
				gap = off
			}
			off = w.next(off + int64(layout.Align))
			continue
		}
		if gap >= 0 {
			gaps = append(gaps, Gap{gap, off})
			gap = -1
		}
		if err := visit(off, h, data); err != nil {
			return nil, err
		}
		off += int64(layout.Size(int(h.Length)))
	}
	if gap < 0 {
		gap = off
	}
	if gap < w.end {
		gaps = append(gaps, Gap{gap, w.end})
	}
	return gaps, nil
}

// verifyRecord reads and verifies all of the record at off.
func (f *File) verifyRecord(off int64) (bool, error) {
	_, _, err := f.ReadRecord(off)
	if errs.Is(err, errs.Corrupt) {
		return false, nil
	}
	return err == nil, err
}

// ReadRecord reads the record at off whole and verifies it.
func (f *File) ReadRecord(off int64) (data []byte, h record.Header, err error) {
	var head [record.HeaderLen]byte
	if err := f.read(head[:], off); err != nil {
		return nil, h, err
	}
	h, ok := record.Parse(head[:], f.Seed, uint64(off))
	if !ok {
		return nil, h, errs.E("segment.ReadRecord", errs.Corrupt, "segment %s offset %d: no record", Name(f.Number, f.Kind), off)
	}
	if err := h.Check(); err != nil {
		return nil, h, err
	}
	dataOff := f.Layout().DataOff(int(h.Length))
	b := make([]byte, dataOff+int(h.Length))
	if err := f.read(b, off); err != nil {
		return nil, h, err
	}
	if bad := record.Verify(b[dataOff:], b[record.HeaderLen:], 0, record.Mask(f.Seed, uint64(off), h.ID)); bad >= 0 {
		return nil, h, f.corrupt(off+int64(dataOff)+int64(bad)*record.BlockLen, h.ID, bad)
	}
	return b[dataOff:], h, nil
}

// window is the piece of a segment that a scan looks at: large steps where records are small, single headers where they are large.
type window struct {
	f    *File
	end  int64
	buf  []byte
	off  int64 // of buf in the file
	step int
}

const (
	stepMin = 4 << 10
	stepMax = 1 << 20
)

// at gives n bytes from off on, fewer only at the end of the segment.
func (w *window) at(off int64, n int) []byte {
	if from := off - w.off; from >= 0 && from+int64(n) <= int64(len(w.buf)) {
		return w.buf[from : from+int64(n)]
	}
	if near := off - w.off; w.step == 0 || near > int64(len(w.buf))+stepMin || near < 0 {
		w.step = stepMin
	} else {
		w.step = min(2*w.step, stepMax)
	}
	size := int(min(int64(max(w.step, n)), w.end-off))
	if cap(w.buf) < size {
		w.buf = make([]byte, max(size, 64<<10))
	}
	w.buf, w.off = w.buf[:size], off
	if err := w.f.read(w.buf, off); err != nil {
		w.patch()
	}
	return w.buf[:min(n, len(w.buf))]
}

// patch reads piece by piece what cannot be read at once: what is cut off or unreadable counts as zeros, which parse as nothing.
func (w *window) patch() {
	for at := 0; at < len(w.buf); at += stepMin {
		piece := w.buf[at:min(at+stepMin, len(w.buf))]
		n, err := w.f.r.ReadAt(piece, w.off+int64(at))
		if err != nil && !errors.Is(err, io.EOF) {
			n = 0
		}
		clear(piece[n:])
	}
}

// record reads the record at off; ok is false if there is none, or one that is no blob and whose data is damaged.
func (w *window) record(off int64) (h record.Header, data []byte, ok bool, err error) {
	b := w.at(off, record.HeaderLen)
	h, ok = record.Parse(b, w.f.Seed, uint64(off))
	layout := w.f.Layout()
	if !ok || off+int64(layout.Size(int(h.Length))) > w.end {
		return h, nil, false, nil
	}
	if err := h.Check(); err != nil {
		return h, nil, false, err
	}
	if h.Type == record.Blob {
		return h, nil, true, nil
	}
	dataOff := layout.DataOff(int(h.Length))
	b = w.at(off, dataOff+int(h.Length))
	mask := record.Mask(w.f.Seed, uint64(off), h.ID)
	return h, b[dataOff:], record.Verify(b[dataOff:], b[record.HeaderLen:], 0, mask) < 0, nil
}

// next finds the first offset from off on, a multiple of the alignment, at which a header parses; w.end if there is none.
func (w *window) next(off int64) int64 {
	align := int64(w.f.Kind.Align())
	for off+record.HeaderLen <= w.end {
		b := w.at(off, int(min(stepMax, w.end-off)))
		if i := w.search(b, off, align); i >= 0 {
			return off + i
		}
		if int64(len(b)) >= w.end-off {
			break
		}
		off += (int64(len(b))-record.HeaderLen)/align*align + align
	}
	return w.end
}

func (w *window) search(b []byte, off, align int64) int64 {
	for i := int64(0); i+record.HeaderLen <= int64(len(b)); i += align {
		if i&4095 == 0 && i+4096 <= int64(len(b)) && isZero(b[i:i+4096]) {
			i += 4096 - align
			continue
		}
		if b[i+4] == 0 || binary.LittleEndian.Uint16(b[i+6:]) != record.HeaderLen {
			continue
		}
		if _, ok := record.Parse(b[i:], w.f.Seed, uint64(off+i)); ok {
			return i
		}
	}
	return -1
}
