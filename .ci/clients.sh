#!/usr/bin/env bash
# Client suites against the real binary: aws, rclone, s3cmd, boto3, curl. Takes the binary's path.
# Everything is compared byte by byte, again after kill -9 and restart. With CLUSTER=1 the server is 3 coordinators, 3 volumes and 2 gateways,
# of which the clients use now the one, now the other.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${1:-$PWD/bin/minikv}
PASSED=0 FAILED=0
work=$(mktemp -d)
export MINIKV_ROOT_USER=cikey MINIKV_ROOT_PASSWORD=ci-secret-0123456789
export AWS_ACCESS_KEY_ID=$MINIKV_ROOT_USER AWS_SECRET_ACCESS_KEY=$MINIKV_ROOT_PASSWORD AWS_DEFAULT_REGION=us-east-1
unset AWS_CA_BUNDLE # Debian's rclone refuses it with its own transport
export AWS_CONFIG_FILE=$work/aws.config AWS_EC2_METADATA_DISABLED=true AWS_PAGER=
# free PORT...: nobody listens there.
free() {
  local p
  for p; do ! (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || return 1; done
}
# Two ports for S3 and two for REST, and behind them all that deploy/serve.sh counts up from the latter. They lie below the ports of the Go suites
# and those that the kernel gives to outgoing connections.
ports=
for first in $(seq 2000 600 9200 | shuf); do
  rest=$((first + 10))
  # shellcheck disable=SC2046
  if free "$first" $((first + 1)) "$rest" $((rest + 1)) $(seq $((rest + 110)) $((rest + 132))) $((rest + 410)) $((rest + 420)) \
    $(seq $((rest + 510)) $((rest + 532))); then
    ports=$first
    break
  fi
done
[ -n "$ports" ] || { echo "no free ports"; exit 1; }
S3_ADDR=127.0.0.1:$ports REST_ADDR=127.0.0.1:$((ports + 10))
S3_ADDR2=127.0.0.1:$((ports + 1)) REST_ADDR2=127.0.0.1:$((ports + 11))
S3=http://$S3_ADDR REST=http://$REST_ADDR
server=

CLUSTER=${CLUSTER:-}
S3_OTHER=$S3
[ -z "$CLUSTER" ] || S3_OTHER=http://$S3_ADDR2

# ready REST-URL CURL-OPTION...: it says so.
ready() { curl -fs -m 10 "${@:2}" "$1/health/ready" >/dev/null 2>&1; }
start() {
  if [ -n "$CLUSTER" ]; then
    MINIKV_DATA=$work/data MINIKV_BIN=$BIN MINIKV_S3=$S3_ADDR MINIKV_REST=$REST_ADDR deploy/serve.sh 3 3 2 >>"$work/server.log" 2>&1 &
  else
    "$BIN" serve --data "$work/data" --s3 $S3_ADDR --rest $REST_ADDR >>"$work/server.log" 2>&1 &
  fi
  server=$!
  for _ in $(seq 3600); do
    ready "$REST" && { [ -z "$CLUSTER" ] || ready "http://$REST_ADDR2"; } && return 0
    kill -0 $server 2>/dev/null || break
    sleep 0.05
  done
  echo "the server did not get ready"; tail -n 30 "$work/server.log"; tail -q -n 3 "$work"/data/*.log; exit 1
}
# kill -9, of all processes of a cluster at once.
stop() {
  [ -n "$server" ] || return 0
  kill -9 "$server" 2>/dev/null || :
  if [ -n "$CLUSTER" ]; then
    local pid pids
    pids=$(pgrep -f -- "--data $work/data/" || :)
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || :
    # Not children of this script. Their locks and ports are free when they are gone, or to be buried and without further threads.
    for pid in $pids; do
      until [ "$(awk '/^State:/ {s = $2} /^Threads:/ {t = $2} END {print s t}' "/proc/$pid/status" 2>/dev/null)" = Z1 ] ||
        ! [ -e "/proc/$pid" ]; do sleep 0.02; done
    done
  fi
  wait "$server" 2>/dev/null || :
  server=
}
finish() {
  stop
  [ "$FAILED" = 0 ] || cat "$work/server.log" "$work"/data/*.log 2>/dev/null | grep -v "INFO.*request" | tail -60
  rm -rf "$work"
}
trap finish EXIT

# check NAME COMMAND...: one test.
check() {
  local name=$1 begin=$SECONDS rc; shift
  # Not in an `if`: bash ignores -e in everything below one.
  set +e
  ( set -e; "$@" ) >"$work/out" 2>&1
  rc=$?
  set -e
  if [ $rc = 0 ]; then
    PASSED=$((PASSED + 1)); echo "ok   $name ($((SECONDS - begin)) s)"
  else
    FAILED=$((FAILED + 1)); echo "FAIL $name"; tail -25 "$work/out" | sed 's/^/     /'
  fi
}

# CLI v1 presigns with SigV2 in us-east-1 unless told.
printf '[default]\ns3 =\n    signature_version = s3v4\n' >"$AWS_CONFIG_FILE"
start
mkdir "$work/files"
: >"$work/files/empty"
printf x >"$work/files/one"
head -c $((5 << 20)) /dev/urandom >"$work/files/five"
head -c $((200 << 20)) /dev/urandom >"$work/files/two-hundred"
head -c 12345 /dev/urandom >"$work/files/a name + 100% für 日本.txt"
tree=$(go env GOROOT)/src

# ------------------------------------------------------------------------------------------------------------ aws
# aws_suite LABEL AWS-COMMAND
aws_files() {
  local aws="$2 --endpoint-url $S3" b=s3://cli-$1
  $aws s3 mb "$b"
  for f in "$work"/files/*; do
    $aws s3 cp --no-progress "$f" "$b/dir/$(basename "$f")"
    $aws s3 cp --no-progress "$b/dir/$(basename "$f")" "$work/back"
    cmp "$f" "$work/back"
  done
  [ "$($aws s3 ls --recursive "$b" | wc -l)" = 5 ]
  printf stdin | $aws s3 cp - "$b/from-stdin"
  [ "$($aws s3 cp "$b/from-stdin" -)" = stdin ]
  $aws s3 mv --no-progress "$b/from-stdin" "$b/moved"
  $aws s3api head-object --bucket "cli-$1" --key moved
  ! $aws s3api head-object --bucket "cli-$1" --key from-stdin
  $aws s3 presign "$b/dir/one" | xargs curl -fsS | cmp - "$work/files/one"
  $aws s3 rm --recursive "$b"
  $aws s3 rb "$b"
}
aws_tree() {
  local aws="$2 --endpoint-url $S3" b=s3://tree-$1
  $aws s3 mb "$b"
  $aws s3 sync --only-show-errors "$tree" "$b/src"
  [ -z "$($aws s3 sync --dryrun "$tree" "$b/src")" ]
}
# with_other COMMAND...: at the other gateway.
with_other() { S3=$S3_OTHER; "$@"; }
# --------------------------------------------------------------------------------------------------------- rclone
rclone_config() {
  cat >"$work/rclone.conf" <<CONF
[mk]
type = s3
provider = Other
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
endpoint = $S3_OTHER
region = us-east-1
CONF
}
rclone_check() { "$1" --config "$work/rclone.conf" check --download "$tree" "mk:$2" --checkers 4; }
rclone_files() {
  local rc="$1 --config $work/rclone.conf" b=mk:rc-$2
  $rc copy "$work/files" "$b/files" --s3-upload-cutoff 64Mi --s3-chunk-size 8Mi
  $rc check --download "$work/files" "$b/files"
  mkdir -p "$work/rcback-$2"
  $rc copy "$b/files" "$work/rcback-$2"
  diff -r "$work/files" "$work/rcback-$2"
  printf 'piped' | $rc rcat "$b/piped"
  $rc moveto "$b/piped" "$b/moved"
  [ "$($rc lsf "$b" | tr '\n' ' ')" = "files/ moved " ]
  $rc purge "$b"
}
# ---------------------------------------------------------------------------------------------------------- s3cmd
s3cmd_config() {
  cat >"$work/s3cfg" <<CONF
[default]
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
host_base = $S3_ADDR
host_bucket = $S3_ADDR
use_https = False
signature_v2 = False
bucket_location = us-east-1
CONF
}
s3cmd_files() {
  local s="s3cmd -c $work/s3cfg --no-progress"
  $s mb s3://s3cmd
  for f in "$work"/files/*; do
    $s put "$f" "s3://s3cmd/d/$(basename "$f")"
    $s get --force "s3://s3cmd/d/$(basename "$f")" "$work/back"
    cmp "$f" "$work/back"
  done
  $s ls s3://s3cmd/d/
  $s info s3://s3cmd/d/one
  $s del --recursive --force s3://s3cmd
  $s rb s3://s3cmd
}
s3cmd_tree() {
  local out
  out=$(s3cmd -c "$work/s3cfg" --no-progress sync --dry-run "$tree/" "s3://$1/src/" 2>&1)
  ! grep -E "^(upload|delete)" <<<"$out" || { echo "$out" | head; return 1; }
}
# ----------------------------------------------------------------------------------------------------------- curl
# curl tries again what was answered 503, as other clients do by themselves: a cluster may elect a leader at any moment.
again=(--retry 10 --retry-delay 1)
curl_s3() {
  local sig=("${again[@]}" --aws-sigv4 "aws:amz:us-east-1:s3" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" -H x-amz-content-sha256:UNSIGNED-PAYLOAD --path-as-is -fsS)
  curl "${sig[@]}" -X PUT "$S3/curl-bucket"
  curl "${sig[@]}" -T "$work/files/five" "$S3/curl-bucket/a/./b"
  curl "${sig[@]}" "$S3/curl-bucket/a/./b" -o "$work/back"
  cmp "$work/files/five" "$work/back"
  curl "${sig[@]}" "$S3/curl-bucket?list-type=2" | grep '<Key>a/./b</Key>'
  curl "${sig[@]}" -r 10-19 "$S3/curl-bucket/a/./b" | cmp - <(tail -c +11 "$work/files/five" | head -c 10 || :)
  curl "${sig[@]}" -X DELETE "$S3/curl-bucket/a/./b"
  [ "$(curl "${again[@]}" -s -o /dev/null -w '%{http_code}' "$S3/curl-bucket")" = 403 ]
}
curl_rest() {
  local u=("${again[@]}" -fsS -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY")
  curl "${u[@]}" -T "$work/files/five" "$REST/some/key"
  curl "${u[@]}" "$REST/some/key" | cmp - "$work/files/five"
  curl "${u[@]}" -r 0-9 "$REST/some/key" | cmp - <(head -c 10 "$work/files/five")
  curl "${u[@]}" -X PUT --data-binary 'reserved' "$REST/kv/range"
  [ "$(curl "${u[@]}" "$REST/kv/range")" = reserved ]
  curl "${u[@]}" -X POST "$REST/batch" -d '{"ops":[{"op":"put","key":"b/1","value":"one"},{"op":"put","key":"b/2","value":"two"},{"op":"delete","key":"some/key"}]}'
  curl "${u[@]}" "$REST/range?prefix=b/&include_values=true" | grep two
  [ "$(curl "${again[@]}" -s -o /dev/null -w '%{http_code}' -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" "$REST/some/key")" = 404 ]
  [ "$(curl "${again[@]}" -s -o /dev/null -w '%{http_code}' "$REST/b/1")" = 401 ]
  curl "${u[@]}" "$REST/metrics" | grep '^minikv_'
  # The same objects as the S3 bucket minikv.
  aws --endpoint-url $S3 s3 cp s3://minikv/b/1 - | grep -x one
}
cli() {
  local m="$BIN --endpoint $REST --access-key $AWS_ACCESS_KEY_ID --secret-key $AWS_SECRET_ACCESS_KEY"
  $m put cli/key --file "$work/files/five"
  $m get cli/key --output "$work/back"
  cmp "$work/files/five" "$work/back"
  printf 'from stdin' | $m put cli/stdin
  [ "$($m get cli/stdin)" = 'from stdin' ]
  $m range --prefix cli/ | grep cli/stdin
  $m delete cli/key
  local rc=0; $m get cli/key >/dev/null || rc=$?
  [ $rc = 3 ]
  $m status
  "$BIN" version
}

aws_old=/usr/bin/aws
aws_new=$(command -v aws || :)
rclone_config; s3cmd_config
RCLONE_NEW=${RCLONE_NEW:-}

check "aws ($($aws_old --version 2>&1 | cut -d' ' -f1)) files" aws_files old $aws_old
[ "$aws_new" = "$aws_old" ] || check "aws ($($aws_new --version 2>&1 | cut -d' ' -f1)) files" aws_files new "$aws_new"
[ -z "$CLUSTER" ] || check "aws files at the other gateway" with_other aws_files other "$aws_new"
check "aws s3 sync of $(find "$tree" -type f | wc -l) files" aws_tree one "$aws_new"
check "rclone ($(/usr/bin/rclone version | head -1)) files" rclone_files /usr/bin/rclone old
if [ -n "$RCLONE_NEW" ]; then
  check "rclone ($($RCLONE_NEW version | head -1)) files" rclone_files "$RCLONE_NEW" new
  check "rclone check --download of the tree" rclone_check "$RCLONE_NEW" tree-one/src
else
  check "rclone check --download of the tree" rclone_check /usr/bin/rclone tree-one/src
fi
check "s3cmd files" s3cmd_files
check "s3cmd sync of the tree finds nothing to do" s3cmd_tree tree-one
for py in /usr/bin/python3 $(command -v python3); do
  "$py" -c 'import boto3' 2>/dev/null || continue
  check "boto3 $("$py" -c 'import boto3; print(boto3.__version__)')" "$py" .ci/boto3_suite.py "$S3" "$($py -c 'import boto3; print(boto3.__version__.replace(".", "-"))')"
done
# Over TLS SDKs send their checksums as trailers.
boto3_tls() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$work/tls.key" -out "$work/tls.crt"
  "$BIN" serve --data "$work/tls-data" --s3 "$S3_ADDR2" --rest "$REST_ADDR2" --tls-cert "$work/tls.crt" --tls-key "$work/tls.key" &
  # Expanded now: what is local is gone when the trap runs.
  # shellcheck disable=SC2064
  trap "kill -9 $!; wait" EXIT
  for _ in $(seq 3600); do ! ready "https://$REST_ADDR2" --cacert "$work/tls.crt" || break; kill -0 $!; sleep 0.05; done
  AWS_CA_BUNDLE=$work/tls.crt "$1" .ci/boto3_suite.py "https://$S3_ADDR2" tls
}
[ -n "$CLUSTER" ] || for py in /usr/bin/python3 $(command -v python3); do
  "$py" -c 'import boto3' 2>/dev/null || continue
  check "boto3 $("$py" -c 'import boto3; print(boto3.__version__)') over TLS" boto3_tls "$py"
  rm -rf "$work/tls-data"
done
check "curl --aws-sigv4" curl_s3
check "curl REST" curl_rest
check "minikv command line" cli
stop; start
check "after kill -9: rclone check --download of the tree" rclone_check "${RCLONE_NEW:-/usr/bin/rclone}" tree-one/src
check "after kill -9: s3cmd sync of the tree finds nothing to do" s3cmd_tree tree-one
check "aws s3 rm of the tree" $aws_new --endpoint-url $S3 s3 rb --force s3://tree-one

echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
