#!/usr/bin/env bash
# The first process of a node: makes a machine of its new namespaces, says so, and lives as long as the node does.
#   inside.sh FOLDER ADDRESS SERVICE
set -euo pipefail
folder=$1 address=$2 service=$3

mount -t proc proc /proc
# The kubelet sets these, and they are the whole machine's. Here it finds what it wants, in files that lie over them.
for each in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    name=${each%=*}
    file=$folder/sysctl.${name//\//.}
    printf '%s\n' "${each#*=}" >"$file"
    mount --bind "$file" "/proc/sys/$name"
done
# Whatever containerd, the kubelet and the network plugins write outside of the folder stays in it.
for each in /var/lib /var/log; do
    layer=$folder/layer${each//\//.}
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay -o "lowerdir=$each,upperdir=$layer/upper,workdir=$layer/work" overlay "$each"
done
mount -t tmpfs tmpfs /run

ip link set lo up
ip address add "$service/32" dev lo # nobody proxies services here; the API server listens on this one's address
# A default route, which the kubelet asks for, leads to the other end of a cable that ends here too.
ip link add uplink type veth peer name nowhere
ip address add "$address/24" dev uplink
ip link set uplink up
ip link set nowhere up
ip route add default via "${address%.*}.254" dev uplink

echo ready
sleep infinity & # bash reaps what is orphaned here while it waits
wait
