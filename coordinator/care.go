package coordinator

import (
	"minikv/coordinator/repair"
)

// newRepair makes the queue of missing replicas; nil without volumes that could be asked.
func (c *Coordinator) newRepair() *repair.Queue {
	if c.cfg.Care == nil {
		return nil
	}
	return repair.NewQueue(repair.Config{
		Metadata: c, Volumes: c.cfg.Care, Clock: c.cfg.Clock, Log: c.cfg.Log.Named("repair"), Rate: c.cfg.RepairRate,
	})
}

// RepairStats is what this coordinator has repaired while it led, and how that stands.
func (c *Coordinator) RepairStats() repair.Stats {
	if c.repair == nil {
		return repair.Stats{}
	}
	return c.repair.Stats()
}

// RepairNow has this coordinator, if it leads, look at missing replicas at once, also at those that failed a moment ago.
func (c *Coordinator) RepairNow() {
	if c.repair != nil {
		c.repair.Nudge(true)
	}
}
