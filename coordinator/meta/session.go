package meta

import (
	"encoding/binary"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Bounds of sessions.
const (
	OutstandingMax     = 4096  // sequences of a session between the lowest outstanding and the newest
	sessionsMax        = 16384 // open at once; a gateway has one per start
	sessionEpochsQuiet = 2     // epochs a session lives without a word
)

// session is a cached session row.
type session struct {
	id      [idLen]byte
	row     metapb.SessionRow
	highest uint64 // the newest sequence with a recorded result, or below lowest
	dirty   bool   // in Machine.dirty
}

// enter finds the command's session, nil when it has none. A known result ends the command: a recorded one (M2) or a refusal
// that is not recorded, because there is no session to record it in.
func (m *Machine) enter(t *txn) (*session, *metapb.Result, error) {
	c := t.c
	if len(c.Session) == 0 || c.GetOpenSession() != nil {
		return nil, nil, nil
	}
	s, err := m.session(t, c.Session)
	if err != nil {
		return nil, nil, err
	}
	if s == nil {
		return nil, unknownSession(t, "the session has ended or never was"), nil
	}
	if c.GetRenewSession() != nil {
		return s, nil, nil
	}
	lowest := s.raised(c)
	switch {
	case c.Sequence < s.row.Lowest:
		return nil, unknownSession(t, "the answer to this sequence is forgotten"), nil
	case c.Sequence-lowest >= OutstandingMax:
		return nil, unknownSession(t, "too many outstanding sequences"), nil
	case c.Sequence > s.highest:
		return s, nil, nil
	}
	r := new(metapb.Result)
	found, err := load(t.b, resultKey(c.Session, c.Sequence), r)
	if !found || err != nil {
		return s, nil, err
	}
	return nil, r, nil
}

func unknownSession(t *txn, msg string) *metapb.Result {
	return &metapb.Result{Index: t.index, Kind: uint32(errs.UnknownSession), Message: msg, Failed: true}
}

// raised is the session's lowest sequence after the command: results below are forgotten.
func (s *session) raised(c *metapb.Command) uint64 {
	lowest := c.LowestOutstanding
	if c.GetRenewSession() == nil {
		lowest = min(lowest, c.Sequence)
	}
	return max(s.row.Lowest, lowest)
}

// leave records the result and renews the session.
func (m *Machine) leave(t *txn, s *session, res *metapb.Result) error {
	if s == nil || m.sessions[s.id] != s { // the command itself may have ended it
		return nil
	}
	c := t.c
	lowest := s.raised(c)
	for q := s.row.Lowest; q < lowest && q <= s.highest; q++ {
		if err := t.b.Delete(resultKey(s.id[:], q)); err != nil {
			return err
		}
	}
	if s.row.Lowest != lowest || s.row.RenewedEpoch != m.cluster.Epoch {
		s.row.Lowest, s.row.RenewedEpoch = lowest, m.cluster.Epoch
		m.touch(s)
	}
	if c.GetRenewSession() != nil {
		res.Value = &metapb.Result_Cluster{Cluster: m.cluster}
		return nil
	}
	s.highest = max(s.highest, c.Sequence)
	return setRow(t.b, resultKey(s.id[:], c.Sequence), res)
}

func (m *Machine) touch(s *session) {
	if !s.dirty {
		s.dirty = true
		m.dirty = append(m.dirty, s)
	}
}

// session finds a session in the cache or the rows; nil when there is none.
func (m *Machine) session(t *txn, id []byte) (*session, error) {
	if len(id) != idLen {
		return nil, nil
	}
	if s := m.sessions[[idLen]byte(id)]; s != nil {
		return s, nil
	}
	s := &session{id: [idLen]byte(id)}
	found, err := load(t.b, sessionKey(id), &s.row)
	if err != nil || !found {
		return nil, err
	}
	if s.highest, err = t.highestResult(id); err != nil {
		return nil, err
	}
	m.sessions[s.id] = s
	return s, nil
}

func (t *txn) highestResult(id []byte) (highest uint64, err error) {
	prefix := tableKey(tableResults, id)
	it, err := t.b.Iter(prefix, prefixEnd(prefix))
	if err != nil {
		return 0, err
	}
	if it.Last() {
		highest = binary.BigEndian.Uint64(it.Key()[len(prefix):])
	}
	return highest, it.Close()
}

// forget drops a session that has ended from the cache.
func (m *Machine) forget(id [idLen]byte) {
	s := m.sessions[id]
	if s == nil {
		return
	}
	delete(m.sessions, id)
	for i, d := range m.dirty {
		if d == s {
			m.dirty = append(m.dirty[:i], m.dirty[i+1:]...)
			break
		}
	}
}

func (t *txn) openSession(op *metapb.OpenSession, res *metapb.Result) error {
	if len(op.Id) != idLen {
		return refuse(errs.Invalid, "a session id has %d bytes", idLen)
	}
	cluster := t.m.cluster
	res.Value = &metapb.Result_Cluster{Cluster: cluster}
	key := sessionKey(op.Id)
	if found, err := t.load(key, new(metapb.SessionRow)); found || err != nil {
		return err
	}
	if t.m.stats.Sessions >= sessionsMax {
		return refuse(errs.LimitExceeded, "%d sessions are open", sessionsMax)
	}
	t.stats.sessions++
	return t.store(key, &metapb.SessionRow{RenewedEpoch: cluster.Epoch, OpenedEpoch: cluster.Epoch})
}

// endQuietSessions ends the sessions that were not renewed for more than two epochs before the given one. Results go by
// key, not by range: a session has at most OutstandingMax of them.
func (t *txn) endQuietSessions(epoch uint64) error {
	return scanTable(t.b, []byte{tableSessions}, func(key, value []byte) (bool, error) {
		id := [idLen]byte(key[1:])
		row := new(metapb.SessionRow)
		if err := decodeRow(value, row); err != nil {
			return false, err
		}
		if s := t.m.sessions[id]; s != nil {
			row.RenewedEpoch = s.row.RenewedEpoch // the row is written at the end of the entry
		}
		if row.RenewedEpoch+sessionEpochsQuiet >= epoch {
			return true, nil
		}
		t.remove(sessionKey(id[:]))
		t.ended = append(t.ended, id)
		t.stats.sessions--
		return true, scanTable(t.b, tableKey(tableResults, id[:]), func(key, _ []byte) (bool, error) {
			t.remove(append([]byte(nil), key...))
			return true, nil
		})
	})
}
