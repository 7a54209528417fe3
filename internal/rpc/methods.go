package rpc

import (
	"strings"
	"time"

	"minikv/internal/certs"
)

// Names of the services and their methods, as proto/*.proto declares them.
const (
	volumeService      = "minikv.volume.v1.Volume"
	coordinatorService = "minikv.coordinator.v1.Coordinator"

	methodPrepare = "/" + volumeService + "/Prepare"
	methodSmall   = "/" + volumeService + "/PrepareSmall"
	methodReadAt  = "/" + volumeService + "/ReadAt"
	methodCommit  = "/" + volumeService + "/Commit"
	methodAbort   = "/" + volumeService + "/Abort"
	methodDelete  = "/" + volumeService + "/Delete"
	methodList    = "/" + volumeService + "/List"
	methodStat    = "/" + volumeService + "/Stat"
	methodStats   = "/" + volumeService + "/Stats"
	methodFetch   = "/" + volumeService + "/Fetch"
	methodCheck   = "/" + volumeService + "/Check"
	methodDigests = "/" + volumeService + "/Digests"
	methodCompact = "/" + volumeService + "/Compact"
	methodFence   = "/" + volumeService + "/Fence"

	methodPropose   = "/" + coordinatorService + "/Propose"
	methodPropSome  = "/" + coordinatorService + "/ProposeSome"
	methodRead      = "/" + coordinatorService + "/Read"
	methodReadSome  = "/" + coordinatorService + "/ReadSome"
	methodRunStates = "/" + coordinatorService + "/RunStates"
	methodStatus    = "/" + coordinatorService + "/Status"
	methodConfirm   = "/" + coordinatorService + "/Confirm"
	methodJoin      = "/" + coordinatorService + "/Join"
	methodHeartbeat = "/" + coordinatorService + "/Heartbeat"
	methodNodes     = "/" + coordinatorService + "/Nodes"
	methodReport    = "/" + coordinatorService + "/Report"
	methodAdmin     = "/" + coordinatorService + "/Admin"
)

// rule is what the table says of a method.
type rule struct {
	roles      certs.Roles   // who may call it
	timeout    time.Duration // of calls that bring no deadline
	idempotent bool          // doing it twice is doing it once
}

const (
	gateway     = certs.Roles(certs.Gateway)
	coordinator = certs.Roles(certs.Coordinator)
	volume      = certs.Roles(certs.Volume)
)

// rules is the one table of methods. Volumes read, list and prepare on one another to repair and to move shards.
var rules = map[string]rule{
	methodPrepare: {roles: gateway | volume | coordinator, timeout: 30 * time.Second, idempotent: true},
	methodSmall:   {roles: gateway | volume | coordinator, timeout: 30 * time.Second, idempotent: true},
	methodReadAt:  {roles: gateway | volume | coordinator, timeout: 30 * time.Second, idempotent: true},
	methodCommit:  {roles: gateway | volume | coordinator, timeout: 10 * time.Second, idempotent: true},
	methodAbort:   {roles: gateway, timeout: 10 * time.Second, idempotent: true},
	methodDelete:  {roles: coordinator, timeout: 30 * time.Second, idempotent: true},
	methodList:    {roles: volume | coordinator, timeout: 30 * time.Second, idempotent: true},
	methodStat:    {roles: gateway | volume | coordinator, timeout: 10 * time.Second, idempotent: true},
	methodStats:   {roles: gateway | volume | coordinator, timeout: 5 * time.Second, idempotent: true},
	methodFetch:   {roles: coordinator, timeout: 2 * time.Minute, idempotent: true},
	methodFence:   {roles: coordinator, timeout: 40 * time.Second, idempotent: true},
	methodCheck:   {roles: coordinator, timeout: 2 * time.Minute, idempotent: true},
	methodDigests: {roles: coordinator, timeout: 2 * time.Minute, idempotent: true},
	methodCompact: {roles: coordinator, timeout: time.Hour, idempotent: true},

	methodPropose:   {roles: gateway | coordinator, timeout: 10 * time.Second},
	methodPropSome:  {roles: gateway | coordinator, timeout: 10 * time.Second},
	methodRead:      {roles: gateway | volume | coordinator, timeout: 10 * time.Second, idempotent: true},
	methodReadSome:  {roles: gateway | volume | coordinator, timeout: 10 * time.Second, idempotent: true},
	methodRunStates: {roles: volume | coordinator, timeout: 10 * time.Second, idempotent: true},
	methodStatus:    {roles: gateway | volume | coordinator, timeout: 2 * time.Second, idempotent: true},
	methodConfirm:   {roles: coordinator, timeout: 2 * time.Second, idempotent: true},
	methodJoin:      {roles: gateway | volume | coordinator, timeout: 10 * time.Second, idempotent: true},
	methodHeartbeat: {roles: volume, timeout: 5 * time.Second, idempotent: true},
	methodNodes:     {roles: gateway | volume | coordinator, timeout: 5 * time.Second, idempotent: true},
	methodReport:    {roles: gateway | volume, timeout: 10 * time.Second, idempotent: true},
	methodAdmin:     {roles: gateway | coordinator, timeout: 30 * time.Second},
}

// timeoutUnlisted is the deadline of calls to methods without a row; a server of ours refuses them anyway.
const timeoutUnlisted = 10 * time.Second

// opOf is the method's name in errors: "rpc.Volume.Prepare".
func opOf(method string) string {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return "rpc." + service[strings.LastIndexByte(service, '.')+1:] + "." + name
}

func timeoutOf(method string) time.Duration {
	if r, ok := rules[method]; ok {
		return r.timeout
	}
	return timeoutUnlisted
}
