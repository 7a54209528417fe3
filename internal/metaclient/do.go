package metaclient

import (
	"context"
	"time"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Do proposes a command exactly once and gives its result. A refusal by the state machine is an error of the recorded kind,
// with the result beside it for what it says of the refusal (failed_op). errs.NotProposed: it surely never takes effect.
// errs.IndeterminateResult: it may or may not (I3).
//
// The operation must not change afterwards when Do ended as indeterminate: its outcome is still being asked for.
func (c *Client) Do(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	const op = "metaclient.Do"
	deadline := time.Now().Add(c.cfg.RetryFor)
	for range sessionAttemptsMax {
		if c.ctx.Err() != nil {
			return nil, errs.E(op, errs.NotProposed, "closed")
		}
		a, err := c.begin(ctx, cmd)
		if err != nil {
			return nil, errs.WrapKind(op, errs.NotProposed, err)
		}
		if a == nil {
			continue // the session ended before a sequence was taken
		}
		r, err := a.run(ctx, deadline)
		if a.anew {
			continue
		}
		if err != nil {
			return r, errs.Wrap(op, err)
		}
		return r, errs.Wrap(op, refusal(op, r))
	}
	return nil, errs.E(op, errs.NotProposed, "the session ends again and again")
}

// attempt is a command under one session and sequence.
type attempt struct {
	c        *Client
	s        *session
	sequence uint64
	cmd      *metapb.Command
	unsure   bool // some proposal of it may have entered a log
	unwaited bool // its caller was told that its outcome is not known
	anew     bool // it surely never took effect and its session is gone: another session may try (S2)
}

// begin takes a sequence; nil when the session ended meanwhile.
func (c *Client) begin(ctx context.Context, cmd *metapb.Command) (*attempt, error) {
	s, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	sequence, ok, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		c.ended(s)
		return nil, nil
	}
	return &attempt{c: c, s: s, sequence: sequence, cmd: cmd}, nil
}

// run proposes until the outcome is known, the deadline has passed or the caller went away. An unknown outcome is then asked
// for in the background.
func (a *attempt) run(ctx context.Context, deadline time.Time) (*metapb.Result, error) {
	r, err := a.try(ctx, deadline)
	if errs.Is(err, errs.IndeterminateResult) {
		a.c.resolveLater(a)
	} else {
		a.s.release(a.sequence)
	}
	return r, err
}

// try returns a recorded result, an error that is sure, or errs.IndeterminateResult.
func (a *attempt) try(ctx context.Context, deadline time.Time) (*metapb.Result, error) {
	const op = "metaclient.Do"
	for wait := (backoff{}); ; {
		r, err := a.c.propose(ctx, withSession(a.cmd, a.s, a.sequence))
		if err == nil && r.Failed && errs.Kind(r.Kind) == errs.UnknownSession {
			return a.sessionGone()
		}
		if err == nil {
			return r, nil
		}
		switch k := errs.KindOf(err); {
		case k == errs.NotLeader || k == errs.NotProposed:
		case surelyRefused(k):
			if !a.unsure {
				return nil, err
			}
		default:
			a.unsure = true
		}
		if wait.sleep(ctx, a.c.ctx, a.until(deadline)) {
			continue
		}
		if a.unsure {
			return nil, errs.WrapKind(op, errs.IndeterminateResult, err)
		}
		return nil, errs.WrapKind(op, errs.NotProposed, err)
	}
}

// until bounds the tries. What no one waits for any more is asked for as long as it takes: it ends with the client.
func (a *attempt) until(deadline time.Time) time.Time {
	if a.unwaited {
		return deadline
	}
	return a.c.outage.until(deadline, a.c.cfg.RetryFor)
}

// surelyRefused kinds are given before a command is proposed, and another attempt would fare no better.
func surelyRefused(k errs.Kind) bool {
	return k == errs.StorageFull || k == errs.LimitExceeded || k == errs.Invalid || k == errs.Unsupported
}

// sessionGone decides about a command whose session has ended. This proposal of it did nothing; an earlier one may have.
func (a *attempt) sessionGone() (*metapb.Result, error) {
	a.c.ended(a.s)
	if a.unsure {
		return nil, errs.E("metaclient.Do", errs.IndeterminateResult, "the session ended before the outcome was known")
	}
	a.anew = true
	return nil, errs.E("metaclient.Do", errs.NotProposed, "the session has ended")
}

// resolveLater asks for an outcome that no one waits for any more, for a bounded time, and then gives up the sequence. Giving
// up is safe: with a higher lowest outstanding sequence, the coordinator refuses what comes late.
func (c *Client) resolveLater(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil || a.s.isEnded() {
		a.s.release(a.sequence)
		return
	}
	a.unwaited = true
	c.unresolved.Add(1)
	c.wg.Go(func() {
		defer c.unresolved.Add(-1)
		_, _ = a.try(c.ctx, time.Now().Add(resolveFor))
		a.s.release(a.sequence)
	})
}
