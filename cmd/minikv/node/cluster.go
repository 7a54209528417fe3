package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"minikv/cmd/minikv/datadir"
	"minikv/coordinator"
	"minikv/coordinator/meta"
	"minikv/coordinator/rebalance"
	"minikv/gateway/objects"
	"minikv/internal/certs"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/metaclient"
	"minikv/internal/object"
	"minikv/internal/ops"
	"minikv/internal/rpc"
	"minikv/internal/rpc/raftnet"
	"minikv/internal/rpc/secure"
	"minikv/internal/telemetry"
	"minikv/proto/metapb"
)

// cluster is this process as one node of several: the roles it has are called in process, those of others over RPC.
type cluster struct {
	cfg *config.Config
	log *zap.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	security *secure.Config
	rpcL     net.Listener
	raftL    net.Listener
	rpcAddr  string // that others are told
	raftAddr string
	pool     *rpc.Pool
	server   *rpc.Server
	serving  chan error
	remote   *rpc.CoordinatorClient
	coord    *coordinator.Coordinator          // nil: not here
	volume   *volumePart                       // nil: not here
	number   atomic.Uint32                     // of volume; 0: not known, or not a member
	meta     atomic.Pointer[metaclient.Client] // nil: no gateway
	layout   atomic.Pointer[metapb.Layout]
	operator *operator
	bad      atomic.Uint64
	report   *reporting

	about     *about
	member    *membership
	nameTaken atomic.Bool // the leader says that another node of the name lives
	awaited   awaited

	mu      sync.Mutex // guards clients
	clients map[uint32]volumeAt
}

var (
	_ backend                = (*cluster)(nil)
	_ metaclient.Coordinator = (*cluster)(nil)
	_ rebalance.Volumes      = (*cluster)(nil)
	_ objects.Volume         = (*rpc.VolumeClient)(nil)
)

// openCluster starts the node's roles; enter makes it one of the cluster.
func openCluster(ctx context.Context, cfg *config.Config, dir *datadir.Dir, log *zap.Logger, fatal func(error), calls *telemetry.Calls, self *about) (c *cluster, err error) {
	c = &cluster{cfg: cfg, log: log.Named("cluster"), clients: map[uint32]volumeAt{}, about: self, member: newMembership()}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err = c.secure(); err != nil {
		return c, err
	}
	if err = c.listen(); err != nil {
		return c, err
	}
	if c.pool, err = rpc.NewPool(c.security); err != nil {
		return c, err
	}
	if calls != nil {
		c.pool.Observe = func(peer, method string, took time.Duration, err error) {
			kind := ""
			if err != nil {
				kind = errs.KindOf(err).String()
			}
			calls.Ended(peer, method, took, kind)
		}
	}
	c.remote = rpc.NewCoordinatorClient(c.pool, rpc.CoordinatorConfig{}, cfg.Coordinators()...)
	if cfg.Has(config.RoleVolume) {
		if c.volume, err = openVolume(cfg, dir.Volume(volumeNumber), log.Named("volume")); err != nil {
			return c, err
		}
	}
	if cfg.Has(config.RoleCoordinator) {
		if err = c.openCoordinator(ctx, dir, log, fatal); err != nil {
			return c, err
		}
	}
	if err = c.serve(fatal); err != nil {
		return c, err
	}
	c.report = newReporting(c, c.volume, c.number.Load, log.Named("reports"))
	return c, nil
}

func (c *cluster) secure() error {
	roles, err := certs.ParseRoles(joined(c.cfg.Roles))
	if err != nil {
		return err
	}
	secret, err := secure.NewSecret([]byte(c.cfg.ClusterSecret))
	if err != nil {
		return err
	}
	c.security = &secure.Config{
		Self: certs.Identity{Node: c.cfg.Node, Roles: roles}, Secret: secret, AllowPlaintext: c.cfg.ClusterPlaintext,
	}
	if c.cfg.ClusterTLS == "" {
		return nil
	}
	cert, key := certs.NodeFiles(c.cfg.ClusterTLS, c.cfg.Node)
	files := secure.Files{Cert: cert, Key: key, CA: filepath.Join(c.cfg.ClusterTLS, certs.CACertFile)}
	c.security.TLS, err = secure.OpenSource(files, func(err error) { c.log.Warn("changed certificates can't be used", zap.Error(err)) })
	if err != nil {
		return errs.Wrap("cluster-tls", err)
	}
	if id := c.security.TLS.Identity(); id.Node != c.cfg.Node || id.Roles&roles != roles {
		return errs.E("cluster-tls", errs.Invalid, "the certificate is of %s; this is %s", id, c.security.Self)
	}
	return nil
}

func joined(list []string) (s string) {
	for i, x := range list {
		if i > 0 {
			s += ","
		}
		s += x
	}
	return s
}

// listen takes the ports between nodes.
func (c *cluster) listen() (err error) {
	own, founds := c.cfg.Founding()
	at := c.cfg.RPC
	switch {
	case at != "":
	case founds:
		at = own.Address
	default:
		at = "127.0.0.1:5001"
	}
	if c.rpcL, err = net.Listen("tcp", at); err != nil {
		return errs.Wrap("rpc", err)
	}
	if err := c.security.CheckListener(c.rpcL.Addr()); err != nil {
		return errs.Wrap("rpc (cluster-tls, cluster-plaintext)", err)
	}
	c.rpcAddr = cmp.Or(own.Address, c.cfg.RPCAdvertise, c.rpcL.Addr().String())
	host, _, err := net.SplitHostPort(c.rpcAddr)
	if err != nil {
		return errs.WrapKind("rpc", errs.Invalid, err)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return errs.E("rpc", errs.Invalid, "%q listens on every interface, and others must be told one; allowed: an address that they can reach, or rpc-advertise", at)
	}
	if err := c.checkReachable(host); err != nil {
		return err
	}
	if !c.cfg.Has(config.RoleCoordinator) {
		return nil
	}
	if at = c.cfg.Raft; at == "" {
		listenHost, _, _ := net.SplitHostPort(c.rpcL.Addr().String())
		at = net.JoinHostPort(listenHost, strconv.Itoa(c.rpcL.Addr().(*net.TCPAddr).Port+1))
	}
	if c.raftL, err = net.Listen("tcp", at); err != nil {
		return errs.Wrap("raft", err)
	}
	c.raftAddr = cmp.Or(c.cfg.RaftAdvertise, net.JoinHostPort(host, strconv.Itoa(c.raftL.Addr().(*net.TCPAddr).Port)))
	return nil
}

func (c *cluster) openCoordinator(ctx context.Context, dir *datadir.Dir, log *zap.Logger, fatal func(error)) (err error) {
	cc := baseCoordinatorConfig(c.cfg, dir, log, fatal)
	cc.Pool.Replication = uint32(c.cfg.Replication)
	cc.FoundWith = c.cfg.ClusterVolumes
	if cc.FoundWith == 0 {
		cc.FoundWith = max(c.cfg.Replication, len(c.cfg.Cluster))
	}
	cc.DownAfter, cc.OutAfter = c.cfg.DownAfter, c.cfg.OutAfter
	cc.Blobs, cc.Moves, cc.Care, cc.RepairRate, cc.CompareEvery = c, c, c.care(), orNone(c.cfg.RepairRate), c.cfg.CompareInterval
	cc.LevelOf = c.levelOf
	cc.Raft.Transport = raftnet.Opener(c.raftL, raftnet.Config{
		Security: c.security, Advertise: raftnet.JoinAddresses(c.rpcAddr, c.raftAddr), Log: log.Named("raft"),
	})
	cc.Raft.Confirmer = raftnet.Confirmer{Client: c.remote, Address: raftnet.RPCAddress}
	c.coord, err = coordinator.Open(ctx, cc)
	return err
}

// serve answers other nodes.
func (c *cluster) serve(fatal func(error)) (err error) {
	if c.server, err = rpc.NewServer(rpc.ServerConfig{Security: c.security, Log: c.log}); err != nil {
		return err
	}
	c.operator = &operator{table: c.handlers(), coord: c.coord, remote: c.remote}
	if c.coord != nil {
		rpc.RegisterCoordinator(c.server, rpc.LocalCoordinator{
			Coordinator: c.coord, Status: c.coordinatorReply, Confirm: c.coord.Confirm, Members: c.coord, Reports: c.coord, Leader: c.leaderAddress,
			Admin: leadingHere{c.operator},
		})
	}
	if c.volume != nil {
		rpc.RegisterVolumes(c.server, rpc.LocalVolume{
			Volume: c.volume.Server, Care: c.careHere(), Number: c.number.Load, Incarnation: c.volume.incarnation(), Stats: c.volume.statsReply,
		})
	}
	c.serving = make(chan error, 1)
	go func() {
		err := c.server.Serve(c.rpcL)
		if err != nil && c.ctx.Err() == nil {
			fatal(err)
		}
		c.serving <- nil
	}()
	return nil
}

// enter forms or joins the cluster, waits until it is founded and takes part.
func (c *cluster) enter(ctx context.Context) error {
	if c.coord != nil {
		c.wg.Go(c.form)
		c.wg.Go(c.promote)
	}
	c.wg.Go(c.announce)
	c.wg.Go(c.watchPeers)
	if c.volume != nil {
		c.wg.Go(c.evict)
	}
	lacking, enough := context.WithCancel(ctx)
	defer enough()
	c.wg.Go(func() { c.watchLacks(lacking) })
	layout, err := c.awaitLayout(ctx)
	if err != nil {
		return err
	}
	enough()
	if was := layout.GetCluster().GetFsync(); was != c.cfg.Fsync {
		return errs.E("fsync", errs.Invalid, "%q; the cluster was founded with %q, which is the only value allowed", c.cfg.Fsync, was)
	}
	if c.volume != nil {
		id := c.volume.ID()
		for _, row := range layout.GetVolumes() {
			if bytes.Equal(row.Id, id[:]) && row.State != meta.VolumeRemoved {
				c.takePart(row.Number)
			}
		}
	}
	if err := c.awaitName(ctx); err != nil || !c.cfg.Has(config.RoleGateway) {
		return err
	}
	m, err := metaclient.New(ctx, c, metaclient.Config{Log: c.log.Named("meta"), RenewEvery: c.cfg.EpochInterval / 2})
	if err == nil {
		c.meta.Store(m)
	}
	return err
}

const awaitEvery = 100 * time.Millisecond

// pause is false when the node ends first.
func (c *cluster) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-c.ctx.Done():
		return false
	}
}

func (c *cluster) awaitLayout(ctx context.Context) (*metapb.Layout, error) {
	for told := false; ; told = true {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		a, err := c.Read(attempt, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
		cancel()
		if l := a.GetLayout(); err == nil && len(l.GetCluster().GetId()) > 0 {
			c.layout.Store(l)
			return l, nil
		}
		if !told {
			c.log.Info("waiting for the cluster", zap.Strings("coordinators", c.cfg.Coordinators()))
		}
		select {
		case err := <-c.member.refused:
			return nil, err
		default:
		}
		if !c.pause(ctx, awaitEvery) {
			return nil, errs.E("cluster", errs.Unavailable, "told to end before there was a cluster")
		}
	}
}

// Close stops in an order that keeps what others rely on until the end: leadership is handed over first.
func (c *cluster) Close() error {
	c.cancel()
	c.wg.Wait()
	c.leave()
	if c.report != nil {
		c.report.Close()
	}
	var all []error
	if m := c.meta.Load(); m != nil {
		all = append(all, errs.Wrap("metaclient", m.Close()))
	}
	if c.coord != nil {
		if err := c.coord.StepDown(); err != nil {
			c.log.Warn("leadership was not handed over", zap.Error(err))
		}
	}
	if c.volume != nil {
		c.volume.Stop()
	}
	if c.server != nil {
		all = append(all, errs.Wrap("rpc", c.server.Stop(context.Background())))
		if c.serving != nil {
			<-c.serving
		}
	}
	if c.coord != nil {
		all = append(all, errs.Wrap("coordinator", c.coord.Close()))
	}
	if c.pool != nil {
		all = append(all, errs.Wrap("rpc", c.pool.Close()))
	}
	for _, l := range []net.Listener{c.rpcL, c.raftL} {
		if l != nil {
			_ = l.Close() // its server has, as a rule
		}
	}
	if c.volume != nil {
		all = append(all, errs.Wrap("volume", c.volume.Close()))
	}
	return errors.Join(all...)
}

// handlers are those of the operations of internal/ops; each topic gives its own.
func (c *cluster) handlers() ops.Table {
	all := slices.Concat(statusOps(c, c.cfg), nodeOps(c.coord, c), poolOps(c.coord), repairOps(c.coord, c.care()))
	if c.coord != nil {
		all = append(all, raftGroup{c.coord, c.cfg, c.remote.StatusOf}.handlers()...)
		all = append(all, backupOps(c.coord)...)
	}
	return ops.NewTable(all...)
}

func (c *cluster) operations() ops.Caller { return c.operator }

func (c *cluster) metadata() objects.Metadata {
	if m := c.meta.Load(); m != nil {
		return m
	}
	return nil
}

// badReplica counts and logs a replica that failed.
func (c *cluster) badReplica(volume uint32, blob object.BlobID, err error) {
	c.bad.Add(1)
	c.report.Bad(volume, blob, err)
	c.log.Debug("a replica failed", zap.Uint32("volume", volume), zap.Stringer("blob", blob), zap.Error(err))
}
