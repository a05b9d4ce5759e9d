#!/usr/bin/env bash
# A real SLURM on this one machine, on loopback only: munged, slurmctld and slurmd with a configuration of their own in a
# temporary folder. As root, on Debian:
#
#     apt-get install --no-install-recommends slurm-wlm munge
#     eval "$(benchmarks/slurm_on_one_machine.sh start)"    # sets SLURM_CONF and the folder
#     sinfo; dse explore --cluster slurm --interface lo ...
#     benchmarks/slurm_on_one_machine.sh stop
#
# `slurm_on_one_machine.sh search` starts it, searches on it through dask-jobqueue while one of the two jobs is canceled,
# compares the front with that of a search without it, and stops it. `slurm_on_one_machine.sh sweep` likewise submits
# results/sweep_example as an array of jobs, cancels one of them, repeats the command, and compares all fronts.
set -euo pipefail

cpus=${SLURM_TEST_CPUS:-2}
folder=${SLURM_TEST_FOLDER:-${TMPDIR:-/tmp}/slurm-on-one-machine}

start() {
    local host memory_mb
    host=$(hostname -s)
    memory_mb=$(($(awk '/MemTotal/ { print $2 }' /proc/meminfo) / 1024 * 8 / 10))
    mkdir -p "$folder"/{state,spool,log}
    chmod 755 "$folder"
    # munge refuses folders that others may write, and keys that others may read.
    mkdir -p "$folder/munge" && chmod 711 "$folder/munge"
    (umask 077 && dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none)
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --num-threads=2 \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" >&2
    cat > "$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CryptoType=crypto/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
InactiveLimit=0
MinJobAge=600
KillWait=10
MaxArraySize=10001
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory_mb State=UNKNOWN
PartitionName=short Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    SLURM_CONF="$folder/slurm.conf" slurmctld >&2
    SLURM_CONF="$folder/slurm.conf" slurmd -N "$host" >&2
    for _ in $(seq 50); do
        SLURM_CONF="$folder/slurm.conf" sinfo -h -o %t 2> /dev/null | grep -q idle && break
        sleep 0.2
    done
    SLURM_CONF="$folder/slurm.conf" sinfo >&2
    echo "export SLURM_CONF=$folder/slurm.conf SLURM_TEST_FOLDER=$folder"
}

stop() {
    for pid in "$folder"/slurmd.pid "$folder"/slurmctld.pid "$folder"/munge/pid; do
        if [ -s "$pid" ]; then kill "$(cat "$pid")" 2> /dev/null || true; fi
    done
    sleep 1
    rm -rf "$folder"
}

search() {
    local options
    work=$(mktemp -d)
    trap 'stop; rm -rf "$work"' EXIT
    eval "$(start)"
    options=(--images 200 --report-images 200 --population-size 16 --generations 12 --threads 1)
    python -m dse explore "${options[@]}" --out "$work/here" > "$work/here.log" 2>&1
    python -m dse explore "${options[@]}" --out "$work/slurm" --cluster slurm --workers 2 --interface lo \
        --partition short --walltime 00:30:00 --memory 2GB > "$work/slurm.log" 2>&1 &
    while [ ! -s "$work/slurm/evaluations.jsonl" ]; do
        kill -0 $! || { cat "$work/slurm.log" >&2; exit 1; }
        sleep 0.5
    done
    sleep 5
    scancel "$(squeue -h -t R -o %i | head -1)"
    wait $! || { cat "$work/slurm.log" >&2; exit 1; }
    squeue -a -t all -o "%i %j %T" >&2
    cmp "$work/here/front.csv" "$work/slurm/front.csv"
    echo "a search on SLURM, one of its jobs canceled: same front as without ($(wc -l < "$work/slurm/front.csv") lines)"
}

sweep() {
    local file front
    file=$(cd "$(dirname "$0")/.." && pwd)/results/sweep_example/sweep.toml
    work=$(mktemp -d)
    trap 'stop; rm -rf "$work"' EXIT
    eval "$(start)"
    python -m dse sweep "$file" --out "$work/here" > "$work/here.log" 2>&1
    array() {
        python -m dse sweep "$file" --out "$work/slurm" --cluster slurm --partition short --walltime 00:30:00 \
            --memory 2GB >> "$work/slurm.log" 2>&1 || { cat "$work/slurm.log" >&2; exit 1; }
    }
    array
    while ! squeue -h -t R -o %i | grep -q .; do sleep 0.5; done
    sleep 4
    scancel "$(squeue -h -r -t R -o %i | head -1)"
    while squeue -h | grep -q .; do sleep 1; done
    python -m dse status "$work/slurm" >&2
    array
    while squeue -h | grep -q .; do sleep 1; done
    squeue -a -t all -o "%i %j %T" >&2
    for front in "$work"/here/*/front.csv; do
        cmp "$front" "$work/slurm/$(basename "$(dirname "$front")")/front.csv"
    done
    echo "a sweep as an array on SLURM, one job canceled: the same $(ls "$work"/slurm/*/front.csv | wc -l) fronts as here"
}

case "${1:-}" in
    start | stop | search | sweep) "$1" ;;
    *) echo "usage: $0 start|stop|search|sweep" >&2; exit 2 ;;
esac
