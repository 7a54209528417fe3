package rest

import (
	"net/http"

	"minikv/internal/buildinfo"
)

func index(c *call) error {
	return c.json(http.StatusOK, map[string]string{"service": "minikv"})
}

func live(c *call) error { return c.json(http.StatusOK, map[string]string{"status": "live"}) }

// ready says whether requests can be answered now. It is open to all and tells no more than that.
func ready(c *call) error {
	if c.s.draining.Load() {
		return newError(http.StatusServiceUnavailable, "ServiceUnavailable", "Shutting down.")
	}
	if c.s.cfg.Ready != nil {
		if err := c.s.cfg.Ready(c.ctx()); err != nil {
			c.w.cause = err
			return newError(http.StatusServiceUnavailable, "ServiceUnavailable", "Not ready.")
		}
	}
	return c.json(http.StatusOK, map[string]string{"status": "ready"})
}

func metrics(c *call) error {
	if c.s.cfg.Metrics == nil {
		return newError(http.StatusNotFound, "NotFound", "There are no metrics.")
	}
	if !c.s.cfg.PublicMetrics && !onLoopback(c.r) {
		if err := c.operator(); err != nil {
			return err
		}
	}
	c.s.cfg.Metrics.ServeHTTP(c.w, c.r)
	return nil
}

func profiles(c *call) error {
	if err := c.operator(); err != nil {
		return err
	}
	c.s.cfg.Pprof.ServeHTTP(c.w, c.r)
	return nil
}

func status(c *call) error {
	if err := c.operator(); err != nil {
		return err
	}
	version, commit := buildinfo.Get()
	out := map[string]any{"version": version, "commit": commit, "bucket": c.s.cfg.Bucket}
	if c.s.cfg.Status != nil {
		st, err := c.s.cfg.Status(c.ctx())
		if err != nil {
			return err
		}
		out["store"] = st
	}
	return c.json(http.StatusOK, out)
}
