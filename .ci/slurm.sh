#!/usr/bin/env bash
# Set up Slurm on this one machine and start it: a node that says it has one GPU, a partition
# `main`, no accounting. For CI and for trying the profile `slurm`; needs root, no systemd.
#
#   .ci/slurm.sh start   set up and start; does nothing where it runs already
#   .ci/slurm.sh stop    stop what start has started
set -euo pipefail

MARK="# written by .ci/slurm.sh"
NODE=$(hostname -s)

ours() { grep -qsF "$MARK" /etc/slurm/slurm.conf; }

write_configuration() {
    if [[ -e /etc/slurm/slurm.conf ]] && ! ours; then
        echo "error: /etc/slurm/slurm.conf belongs to another Slurm; leave it alone" >&2
        exit 1
    fi
    mkdir -p /etc/slurm /var/spool/slurmctld /var/spool/slurmd /var/log/slurm
    cat >/etc/slurm/slurm.conf <<CONF
$MARK
ClusterName=local
SlurmctldHost=$NODE(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MinJobAge=3600
SchedulerParameters=sched_interval=2
NodeName=$NODE NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(($(free -m | awk '/^Mem:/ {print $2}') * 9 / 10)) Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$NODE Default=YES MaxTime=INFINITE State=UP
CONF
    # A device file that every machine has stands in for a GPU: Slurm only counts it.
    echo "NodeName=$NODE Name=gpu File=/dev/null" >/etc/slurm/gres.conf
    echo "CgroupAutomount=no" >/etc/slurm/cgroup.conf
}

# Daemons outlive the caller: they must not keep what it has open, such as locks and pipes.
launch() (
    for descriptor in /proc/self/fd/*; do
        number=${descriptor##*/}
        if ((number > 2)); then eval "exec $number>&-"; fi
    done
    exec "$@"
)

start_munge() {
    if munge -n >/dev/null 2>&1; then return; fi
    install -d -o munge -g munge -m 700 /etc/munge /var/lib/munge /var/log/munge
    install -d -o munge -g munge -m 755 /run/munge
    if [[ ! -s /etc/munge/munge.key ]]; then
        dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
    fi
    chown munge:munge /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
    launch runuser --user munge -- munged
}

ready() { [[ "$(sinfo --noheader --format %T 2>/dev/null)" =~ ^(idle|mixed|allocated) ]]; }

case "${1:-}" in
start)
    if ready; then exit 0; fi
    write_configuration
    start_munge
    launch slurmctld
    launch slurmd
    for _ in $(seq 30); do
        if ready; then
            sinfo
            exit 0
        fi
        sleep 1
    done
    echo "error: Slurm does not come up; see /var/log/slurm" >&2
    tail -n 20 /var/log/slurm/*.log >&2
    exit 1
    ;;
stop)
    if ! ours; then exit 0; fi
    for name in slurmd slurmctld; do
        if [[ -s /run/$name.pid ]]; then kill "$(cat /run/$name.pid)" || true; fi
    done
    ;;
*)
    echo "usage: .ci/slurm.sh start|stop" >&2
    exit 2
    ;;
esac
