#!/bin/bash
# Tries jobs/slurm on a real Slurm: a controller and four nodes on this one machine, which need Debian's packages
# (apt-get install slurm-wlm munge) and some 30 minutes on two cores. Nothing of an installed Slurm is touched: keys, ports,
# state and logs lie in a folder of their own, and all daemons end with the script. Usage: jobs/slurm/check.sh [python]
#
# 1. three nodes compute an atlas              4. two jobs share three nodes
# 2. a node is drained and the job requeued    5. a request that cannot be done is refused, and not tried again
# 3. a job meets its time limit, and goes on   6. a node dies under the job
# Each atlas must have the bytes of a serial run. CHECKS="limited died" runs some of them: three_nodes, drained, limited,
# together, refused, died.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=$(realpath -s "${1:-.venv/bin/python}")
WORK=$(mktemp -d /tmp/sc.XXXXXX) # short, for the sockets of Ray, whose folders lie in it too
export TMPDIR=$WORK SLURM_CONF=$WORK/slurm.conf PATH=$PATH:/usr/sbin OMP_NUM_THREADS=1
NAME=$(hostname -s)
daemons=()

finish() {
  status=$?
  scancel --quiet --user="$(id -un)" 2>/dev/null || true
  sleep 5
  for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [ $status -eq 0 ]; then rm -rf "$WORK"; else echo "logs are kept in $WORK" >&2; fi
  exit $status
}
trap finish EXIT

say() { echo "$(date +%H:%M:%S) $*"; }
fail() { say "FAILED: $*"; exit 1; }

cat >"$SLURM_CONF" <<CONF
ClusterName=check
SlurmctldHost=$NAME(127.0.0.1)
SlurmctldPort=16817
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$WORK/munge.socket,cred_expire=30
StateSaveLocation=$WORK/state
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmctldLogFile=$WORK/slurmctld.log
SlurmdPidFile=$WORK/slurmd.%n.pid
SlurmdLogFile=$WORK/slurmd.%n.log
SlurmdSpoolDir=$WORK/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=40
NodeName=n[1-4] NodeHostname=$NAME NodeAddr=127.0.0.1 Port=[17001-17004] CPUs=4 RealMemory=3000 State=UNKNOWN
PartitionName=check Nodes=n[1-4] Default=YES MaxTime=INFINITE
CONF
mkdir -p "$WORK/state" "$WORK"/spool.n{1,2,3,4}
dd if=/dev/urandom of="$WORK/munge.key" bs=1 count=1024 status=none
chmod 600 "$WORK/munge.key"
munged --foreground --force --key-file="$WORK/munge.key" --socket="$WORK/munge.socket" --pid-file="$WORK/munged.pid" \
  --seed-file="$WORK/munged.seed" --log-file="$WORK/munged.log" 2>"$WORK/munged.err" &
daemons+=($!)
until [ -S "$WORK/munge.socket" ]; do sleep 0.2; done
slurmctld -D -f "$SLURM_CONF" >/dev/null 2>"$WORK/slurmctld.err" &
daemons+=($!)
node() { slurmd -D -N "$1" -f "$SLURM_CONF" >/dev/null 2>"$WORK/slurmd.$1.err" & daemons+=($!); NODE_PID[${1#n}]=$!; }
declare -a NODE_PID
for n in n1 n2 n3 n4; do node $n; done
for _ in $(seq 60); do [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 4 ] && break; sleep 1; done
[ "$(sinfo -h -t idle -o %D)" = 4 ] || { sinfo -Nl; fail "the nodes are not idle"; }
say "Slurm $(sinfo --version | cut -d' ' -f2) with 4 nodes is up"

SMALL=("units=[conv1:0-7]" samples=2 "methods=[ascent]" "styles=[low_frequency]" style.low_frequency.max_iter=3
  device=cpu pages=false)
LONG=("units=[conv5:0-15,fc8:*]" samples=12 "methods=[ascent]" "styles=[low_frequency]" device=cpu pages=false
  "style.low_frequency.max_iter=${ITERATIONS:-400}")
submit() { # folder, options of sbatch -- overrides
  local out=$1; shift
  "$PYTHON" -m jobs.slurm "--parsable" "out=\"$out\"" "$@" 2>/dev/null
}
state() { squeue -h -j "$1" -o %T 2>/dev/null || true; }
ended() { # job, seconds: wait until it has left the queue
  for _ in $(seq "$2"); do [ -z "$(state "$1")" ] && return; case $(state "$1") in COMPLETED|FAILED|CANCELLED|TIMEOUT) return;; esac; sleep 1; done
  fail "job $1 has not ended after $2 s: $(state "$1")"
}
said() { cat "$1"/log/slurm-"$2".log; }
shards() { find "$1/shards" "$1/parts" -type f 2>/dev/null | wc -l || true; }
code() { scontrol show job "$1" -o | sed -E 's/.* ExitCode=([0-9]+):.*/\1/'; }
same() { [ "$(sha256sum <"$1/atlas.h5")" = "$(sha256sum <"$2/atlas.h5")" ] || fail "$1/atlas.h5 differs from $2/atlas.h5"; }
all_done() { [ "$(code "$2")" = 0 ] || { said "$1" "$2" | tail -20; fail "job $2 ended with $(code "$2")"; }; }

say "serial runs, for comparison"
"$PYTHON" -m jobs.atlas cluster=serial "out=$WORK/serial" "${SMALL[@]}" 2>/dev/null
"$PYTHON" -m jobs.atlas cluster=serial "out=$WORK/serial-long" "${LONG[@]}" 2>/dev/null

three_nodes() {
  say "1. three nodes, a folder with a name of all kinds"
  out="$WORK/one, \$two 100%"
  job=$(submit "$out" --nodes=3 --cpus-per-task=2 --time=30 "${SMALL[@]}")
  ended "$job" 600; all_done "$out" "$job"; same "$out" "$WORK/serial"
  said "$out" "$job"
}

drained() {
  say "2. a node is drained, and the job requeued in the middle"
  out=$WORK/drained
  job=$(submit "$out" --nodes=3 --cpus-per-task=2 --time=60 "${LONG[@]}")
  until [ "$(shards "$out")" -ge 4 ]; do sleep 1; done
  scontrol update nodename=n3 state=drain reason=check
  before=$(shards "$out")
  scontrol requeue "$job"
  say "after $before shards: n3 is $(sinfo -h -n n3 -o %T), job $job is $(state "$job")"
  ended "$job" 1800; all_done "$out" "$job"; same "$out" "$WORK/serial-long"
  said "$out" "$job"
  said "$out" "$job" | grep -q "run 2: 3 nodes: n1, n2, n4" || fail "the second run did not leave n3 out"
  scontrol update nodename=n3 state=resume
}

limited() {
  say "3. a time limit of three minutes, told a minute before"
  out=$WORK/limited
  job=$(submit "$out" --nodes=3 --cpus-per-task=2 --time=3 --signal=B:USR1@60 "${LONG[@]}")
  ended "$job" 3600; all_done "$out" "$job"; same "$out" "$WORK/serial-long"
  said "$out" "$job"
  said "$out" "$job" | grep -q "run 2: " || fail "it met no limit; raise ITERATIONS"
}

together() {
  say "4. two jobs at once on the same nodes"
  first=$(submit "$WORK/a" --nodes=3 --cpus-per-task=2 --time=60 "${LONG[@]}")
  second=$(submit "$WORK/b" --nodes=3 --cpus-per-task=2 --time=60 "${LONG[@]}")
  until [ "$(shards "$WORK/a")" -ge 1 ] && [ "$(shards "$WORK/b")" -ge 1 ]; do sleep 1; done
  squeue -h -o "job %i %T on %N" --jobs="$first,$second"
  ended "$first" 1800; ended "$second" 1800
  for pair in "a $first" "b $second"; do
    set -- $pair
    all_done "$WORK/$1" "$2"; same "$WORK/$1" "$WORK/serial-long"
  done
  said "$WORK/b" "$second"
}

refused() {
  say "5. what cannot be done"
  "$PYTHON" -m jobs.slurm "out=$WORK/refused" samples=many tops.kk=1 && fail "it was submitted"
  job=$(submit "$WORK/refused" --nodes=2 --time=30 "units=[covn1]")
  ended "$job" 300
  [ "$(code "$job")" = 2 ] || fail "it ended with $(code "$job")"
  said "$WORK/refused" "$job"
}

died() {
  say "6. a node dies under the job"
  out=$WORK/died
  job=$(submit "$out" --nodes=3 --cpus-per-task=2 --time=60 "${LONG[@]}")
  until [ "$(shards "$out")" -ge 3 ]; do sleep 1; done
  kill -9 "${NODE_PID[3]}"
  for folder in /proc/[0-9]*; do
    if grep -qsz "^SLURMD_NODENAME=n3$" "$folder/environ" && grep -qsz "^SLURM_JOB_ID=$job$" "$folder/environ"; then
      kill -9 "${folder#/proc/}" 2>/dev/null || true
    fi
  done
  say "after $(shards "$out") shards, everything on n3 is gone"
  ended "$job" 1800; all_done "$out" "$job"; same "$out" "$WORK/serial-long"
  said "$out" "$job"
}

for one in ${CHECKS:-three_nodes drained limited together refused died}; do
  "$one"
done
say "all is well"
