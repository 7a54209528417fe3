#!/bin/sh
# A cluster on this machine, each part a process of its own: C coordinators, V volumes and G gateways. Ctrl-C stops all.
#
#   deploy/serve.sh [C [V [G]]]      default: 3 3 1
#
#   MINIKV_DATA                      data and logs; default ./data
#   MINIKV_ROOT_USER, _ROOT_PASSWORD credentials of root; needed
#   MINIKV_BIN                       default: bin/minikv of this repository, built if it is not there
#   MINIKV_REPLICATION               default: 3, or V if that is less
#
#   MINIKV_S3, MINIKV_REST           addresses of the first gateway; default 127.0.0.1:9000 and 127.0.0.1:5000
#
# Further gateways have the next ports; coordinators have theirs counted up from the first REST port + 110, volumes from + 510. The
# cluster's secret is made at the first start and kept beside the data.
set -eu

coordinators=${1:-3}
volumes=${2:-3}
gateways=${3:-1}
case "$coordinators$volumes$gateways" in
*[!0-9]*|'') echo "usage: $0 [coordinators [volumes [gateways]]]" >&2; exit 2 ;;
esac
if [ "$coordinators" -lt 1 ] || [ "$volumes" -lt 1 ] || [ "$gateways" -lt 1 ]; then
	echo "$0: at least one coordinator, one volume and one gateway" >&2
	exit 2
fi
s3=${MINIKV_S3:-127.0.0.1:9000}
rest=${MINIKV_REST:-127.0.0.1:5000}
unset MINIKV_S3 MINIKV_REST
s3_port=${s3##*:}
rest_port=${rest##*:}
case "$s3_port$rest_port" in
*[!0-9]*|'') echo "$0: MINIKV_S3 and MINIKV_REST are host:port" >&2; exit 2 ;;
esac
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
	rpc=$((rest_port + 100 + i * 10))
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
	rpc=$((rest_port + 100 + i * 10))
	start "c$i" coordinator --cluster "$cluster" --cluster-volumes "$volumes" --raft "127.0.0.1:$((rpc + 1))" --rest "127.0.0.1:$((rpc + 2))"
	i=$((i + 1))
done
i=1
while [ "$i" -le "$volumes" ]; do
	rpc=$((rest_port + 500 + i * 10))
	start "v$i" volume --join "$join" --rpc "127.0.0.1:$rpc" --rest "127.0.0.1:$((rpc + 2))"
	i=$((i + 1))
done
i=1
while [ "$i" -le "$gateways" ]; do
	own_s3=${s3%:*}:$((s3_port + i - 1))
	own_rest=${rest%:*}:$((rest_port + i - 1))
	start "g$i" gateway --join "$join" --rpc "127.0.0.1:$((rest_port + 400 + i * 10))" --s3 "$own_s3" --rest "$own_rest"
	echo "S3    http://$own_s3"
	echo "REST  http://$own_rest"
	i=$((i + 1))
done
echo "logs  $data/*.log"
for pid in $pids; do
	wait "$pid" || { echo "$0: a process has ended; see the logs" >&2; stop 1; }
done
