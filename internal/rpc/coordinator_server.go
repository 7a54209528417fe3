package rpc

import (
	"context"

	"google.golang.org/grpc"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/ops"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// Coordinator decides and answers; coordinator.Coordinator does.
type Coordinator interface {
	// Propose has the command applied and gives its recorded result; refusals are results. errs.NotLeader, errs.NotProposed,
	// errs.StorageFull, errs.Invalid, errs.LimitExceeded and errs.Unsupported: it surely never was and never will be proposed. Any other
	// kind: it may take effect, now or later.
	Propose(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error)
	// Read answers linearizably. errs.NotLeader, errs.Unavailable: ask again, perhaps elsewhere.
	Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error)
	// RunStates tells whether runs are alive.
	RunStates(ctx context.Context, bases []object.RunBase) (*metapb.RunStatesAnswer, error)
}

// Members keeps who belongs to the cluster. Only the leader does: errs.NotLeader.
type Members interface {
	Join(ctx context.Context, r *coordpb.JoinRequest) (*coordpb.JoinReply, error)
	Heartbeat(ctx context.Context, r *coordpb.HeartbeatRequest) (*coordpb.HeartbeatReply, error)
	Nodes(ctx context.Context) (*coordpb.NodesReply, error)
}

// Reports takes what others found wrong with replicas. Only the leader does: errs.NotLeader.
type Reports interface {
	Report(ctx context.Context, r *coordpb.ReportRequest) (*coordpb.ReportReply, error)
}

// LocalCoordinator is the coordinator of this process. Coordinator and Status must be set; what else is nil is errs.Unsupported.
type LocalCoordinator struct {
	Coordinator
	Status func() *coordpb.StatusReply
	// Confirm returns nil when this coordinator is of the incarnation and its current term is term.
	Confirm func(incarnation string, term uint64) error
	Members Members
	Reports Reports
	// Admin does an operation of internal/ops here, where the coordinator leads.
	Admin ops.Caller
	// Leader is host:port of the RPC of the coordinator that leads, for errs.NotLeader; empty: unknown.
	Leader func() string
}

// RegisterCoordinator serves the coordinator.
func RegisterCoordinator(s *Server, c LocalCoordinator) {
	s.grpc.RegisterService(&coordinatorDesc, &coordinatorServer{c})
}

type coordinatorServer struct{ c LocalCoordinator }

var coordinatorDesc = grpc.ServiceDesc{
	ServiceName: coordinatorService,
	HandlerType: (*any)(nil),
	Metadata:    "coordinator.proto",
	Methods: []grpc.MethodDesc{
		{MethodName: "Propose", Handler: unaryOf(methodPropose, (*coordinatorServer).propose)},
		{MethodName: "ProposeSome", Handler: unaryOf(methodPropSome, (*coordinatorServer).proposeSome)},
		{MethodName: "Read", Handler: unaryOf(methodRead, (*coordinatorServer).read)},
		{MethodName: "ReadSome", Handler: unaryOf(methodReadSome, (*coordinatorServer).readSome)},
		{MethodName: "RunStates", Handler: unaryOf(methodRunStates, (*coordinatorServer).runStates)},
		{MethodName: "Status", Handler: unaryOf(methodStatus, (*coordinatorServer).status)},
		{MethodName: "Confirm", Handler: unaryOf(methodConfirm, (*coordinatorServer).confirm)},
		{MethodName: "Join", Handler: unaryOf(methodJoin, (*coordinatorServer).join)},
		{MethodName: "Heartbeat", Handler: unaryOf(methodHeartbeat, (*coordinatorServer).heartbeat)},
		{MethodName: "Nodes", Handler: unaryOf(methodNodes, (*coordinatorServer).nodes)},
		{MethodName: "Report", Handler: unaryOf(methodReport, (*coordinatorServer).report)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Admin", ServerStreams: true, Handler: streamOf((*coordinatorServer).admin)},
	},
}

func (s *coordinatorServer) leaderAddress() string {
	if s.c.Leader == nil {
		return ""
	}
	return s.c.Leader()
}

func (s *coordinatorServer) propose(ctx context.Context, m *metapb.Command) (*metapb.Result, error) {
	return s.c.Propose(ctx, m)
}

func (s *coordinatorServer) read(ctx context.Context, m *metapb.Query) (*metapb.Answer, error) {
	return s.c.Read(ctx, m)
}

func (s *coordinatorServer) runStates(ctx context.Context, m *metapb.RunStatesQuery) (*metapb.RunStatesAnswer, error) {
	bases := make([]object.RunBase, len(m.Bases))
	for i, b := range m.Bases {
		id, err := object.BlobIDFrom(b)
		if err != nil {
			return nil, err
		}
		bases[i] = object.RunBase(id)
	}
	return s.c.RunStates(ctx, bases)
}

func (s *coordinatorServer) status(context.Context, *coordpb.StatusRequest) (*coordpb.StatusReply, error) {
	r := s.c.Status()
	if r.LeaderAddress == "" {
		r.LeaderAddress = s.leaderAddress()
	}
	return r, nil
}

func (s *coordinatorServer) confirm(_ context.Context, m *coordpb.ConfirmRequest) (*coordpb.ConfirmReply, error) {
	if s.c.Confirm == nil {
		return nil, errs.E("rpc.Confirm", errs.Unsupported, "a single coordinator")
	}
	return &coordpb.ConfirmReply{}, s.c.Confirm(m.Incarnation, m.Term)
}

func (s *coordinatorServer) join(ctx context.Context, m *coordpb.JoinRequest) (*coordpb.JoinReply, error) {
	if s.c.Members == nil {
		return nil, errs.E("rpc.Join", errs.Unsupported, "this coordinator takes no members")
	}
	return s.c.Members.Join(ctx, m)
}

func (s *coordinatorServer) heartbeat(ctx context.Context, m *coordpb.HeartbeatRequest) (*coordpb.HeartbeatReply, error) {
	if s.c.Members == nil {
		return nil, errs.E("rpc.Heartbeat", errs.Unsupported, "this coordinator takes no members")
	}
	return s.c.Members.Heartbeat(ctx, m)
}

func (s *coordinatorServer) nodes(ctx context.Context, _ *coordpb.NodesRequest) (*coordpb.NodesReply, error) {
	if s.c.Members == nil {
		return nil, errs.E("rpc.Nodes", errs.Unsupported, "this coordinator takes no members")
	}
	return s.c.Members.Nodes(ctx)
}

// suspectsMax bounds one report.
const suspectsMax = 1024

func (s *coordinatorServer) report(ctx context.Context, m *coordpb.ReportRequest) (*coordpb.ReportReply, error) {
	const op = "rpc.Report"
	if s.c.Reports == nil {
		return nil, errs.E(op, errs.Unsupported, "this coordinator takes no reports")
	}
	if len(m.Suspects) > suspectsMax {
		return nil, errs.E(op, errs.Invalid, "%d suspects; at most %d at once", len(m.Suspects), suspectsMax)
	}
	return s.c.Reports.Report(ctx, m)
}
