#!/bin/sh
# A cluster on this machine, each part a process of its own: C coordinators, V volumes and one gateway. Ctrl-C stops all.
#
#   deploy/serve.sh [C [V]]          default: 3 3
#
#   MINIKV_DATA                      data and logs; default ./data
#   MINIKV_ROOT_USER, _ROOT_PASSWORD credentials of root; needed
#   MINIKV_BIN                       default: bin/minikv of this repository, built if it is not there
#   MINIKV_REPLICATION               default: 3, or V if that is less
#
# S3 is on 127.0.0.1:9000, REST on 127.0.0.1:5000; the other processes have ports counted up from 5110 (coordinators) and 5510 (volumes). The cluster's secret is made
# at the first start and kept beside the data.
set -eu

coordinators=${1:-3}
volumes=${2:-3}
case "$coordinators$volumes" in
*[!0-9]*|'') echo "usage: $0 [coordinators [volumes]]" >&2; exit 2 ;;
esac
if [ "$coordinators" -lt 1 ] || [ "$volumes" -lt 1 ]; then
	echo "$0: at least one coordinator and one volume" >&2
	exit 2
fi
if [ -z "${MINIKV_ROOT_USER:-}" ] || [ -z "${MINIKV_ROOT_PASSWORD:-}" ]; then
	echo "$0: set MINIKV_ROOT_USER and MINIKV_ROOT_PASSWORD" >&2
	exit 2
fi

root=$(cd "$(dirname "$0")/.." && pwd)
bin=${MINIKV_BIN:-$root/bin/minikv}
[ -x "$bin" ] || make -C "$root" build
data=${MINIKV_DATA:-./data}
unset MINIKV_DATA
umask 077
mkdir -p "$data"
data=$(cd "$data" && pwd)
if [ ! -s "$data/cluster-secret" ]; then
	od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$data/cluster-secret"
fi
MINIKV_CLUSTER_SECRET=$(cat "$data/cluster-secret")
export MINIKV_CLUSTER_SECRET
MINIKV_REPLICATION=${MINIKV_REPLICATION:-$([ "$volumes" -lt 3 ] && echo "$volumes" || echo 3)}
export MINIKV_REPLICATION

cluster=''
join=''
i=1
while [ "$i" -le "$coordinators" ]; do
	rpc=$((5100 + i * 10))
	cluster="$cluster${cluster:+,}c$i=127.0.0.1:$rpc"
	join="$join${join:+,}127.0.0.1:$rpc"
	i=$((i + 1))
done

pids=''
# Each process ends by itself at Ctrl-C; waiting lets it finish what it does.
stop() {
	trap - INT TERM EXIT
	for pid in $pids; do kill "$pid" 2>/dev/null || true; done
	wait
	exit "${1:-0}"
}
trap 'stop 0' INT TERM
trap 'stop 1' EXIT

start() { # name, roles, flags
	name=$1
	roles=$2
	shift 2
	"$bin" serve --node "$name" --roles "$roles" --data "$data/$name" "$@" >>"$data/$name.log" 2>&1 &
	pids="$pids $!"
}

i=1
while [ "$i" -le "$coordinators" ]; do
	rpc=$((5100 + i * 10))
	start "c$i" coordinator --cluster "$cluster" --cluster-volumes "$volumes" --raft "127.0.0.1:$((rpc + 1))" --rest "127.0.0.1:$((rpc + 2))"
	i=$((i + 1))
done
i=1
while [ "$i" -le "$volumes" ]; do
	rpc=$((5500 + i * 10))
	start "v$i" volume --join "$join" --rpc "127.0.0.1:$rpc" --rest "127.0.0.1:$((rpc + 2))"
	i=$((i + 1))
done
start g1 gateway --join "$join" --rpc 127.0.0.1:5490 --s3 127.0.0.1:9000 --rest 127.0.0.1:5000

echo "S3    http://127.0.0.1:9000"
echo "REST  http://127.0.0.1:5000"
echo "logs  $data/*.log"
for pid in $pids; do
	wait "$pid" || { echo "$0: a process has ended; see the logs" >&2; stop 1; }
done
