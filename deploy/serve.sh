#!/bin/sh
# A cluster on this machine, each part a process of its own: C coordinators, V volumes and G gateways. Ctrl-C stops all, the gateways
# first; so does a process that ends before the cluster is ready. One that ends later is named, and the others go on.
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
for address in "$s3" "$rest"; do
	port=${address##*:}
	case "$address" in *:*) ;; *) port='' ;; esac
	case "$port" in
	*[!0-9]*|'') echo "$0: MINIKV_S3 and MINIKV_REST are host:port, not $address" >&2; exit 2 ;;
	esac
done
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

gateway_pids=''
store_pids=''
running=''
# Gateways end first, so that what they have begun finds the rest. Ctrl-C reaches this script alone (setsid): a second signal would
# end a process at once, as a second Ctrl-C here does.
stop() {
	trap - EXIT
	trap 'kill -9 $gateway_pids $store_pids 2>/dev/null; exit 1' INT TERM HUP
	for pids in "$gateway_pids" "$store_pids"; do
		for pid in $pids; do kill "$pid" 2>/dev/null || true; done
		for pid in $pids; do wait "$pid" 2>/dev/null || true; done
	done
	exit "${1:-0}"
}
trap 'stop 0' INT TERM HUP
trap 'stop 1' EXIT

start() { # name, roles, flags
	name=$1
	roles=$2
	shift 2
	setsid "$bin" serve --node "$name" --roles "$roles" --data "$data/$name" "$@" >>"$data/$name.log" 2>&1 &
	if [ "$roles" = gateway ]; then gateway_pids="$gateway_pids $!"; else store_pids="$store_pids $!"; fi
	running="$running $name:$!"
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

# ready: the first gateway serves, and it is this cluster's.
ready() {
	answer=$(MINIKV_ACCESS_KEY=$MINIKV_ROOT_USER MINIKV_SECRET_KEY=$MINIKV_ROOT_PASSWORD \
		"$bin" status --endpoint "http://$rest" 2>/dev/null) || [ $? -eq 8 ] || return 1
	case "$answer" in *"
g1 "*) ;; *) return 1 ;; esac
}

state=starting
while [ -n "$running" ]; do
	sleep 1 || true
	left=''
	for p in $running; do
		if kill -0 "${p#*:}" 2>/dev/null; then
			left="$left $p"
			continue
		fi
		name=${p%:*}
		echo "$0: $name has ended; the end of its log:" >&2
		tail -n 1 "$data/$name.log" >&2
		[ "$state" = ready ] || stop 1
	done
	running=$left
	if [ "$state" = starting ] && ready; then
		state=ready
		echo ready
	fi
done
echo "$0: all processes have ended" >&2
exit 1
