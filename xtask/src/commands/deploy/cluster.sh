#!/usr/bin/env bash
# The chart on a real API server. Called by `cargo xtask test --deploy`:
#   CHECKOUT   the checkout      WORK   a folder of this test's own
#   KUBERNETES, HELM, KWOK       the programs
set -euo pipefail

rm -rf "$WORK" && mkdir -p "$WORK/certs" && cd "$WORK"
chart="$CHECKOUT/charts/saf-runtime"
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
client=$(free) peer=$(free) api=$(free) controllers=$(free) scheduler=$(free) kwok=$(free)

started=()
start() { # name command…
    "${@:2}" >"$WORK/$1.log" 2>&1 &
    started=("$!" "${started[@]}")
}
stop() {
    code=$?
    if ((code != 0)); then tail -n 5 "$WORK"/*.log || true; fi
    # In the opposite order of starting: an API server without its etcd does not end for a while.
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    exit "$code"
}
trap stop EXIT
until_ok() { # what command…
    for ((n = 0; n < 600; n++)); do "${@:2}" >/dev/null 2>&1 && return; sleep 0.2; done
    echo "waited for $1: ${*:2}" >&2
    return 1
}

openssl genrsa -out accounts.key 2048 2>/dev/null
echo 'admintoken,admin,admin,"system:masters"' >tokens.csv
start etcd "$KUBERNETES" etcd --data-dir "$WORK/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer"
until_ok etcd curl --fail "http://127.0.0.1:$client/health"
start apiserver "$KUBERNETES" kube-apiserver --etcd-servers="http://127.0.0.1:$client" --bind-address=127.0.0.1 --advertise-address=127.0.0.1 \
    --endpoint-reconciler-type=none --secure-port="$api" --cert-dir="$WORK/certs" --service-cluster-ip-range=10.96.0.0/16 \
    --service-account-issuer=https://kubernetes.default.svc --service-account-signing-key-file=accounts.key --service-account-key-file=accounts.key \
    --token-auth-file=tokens.csv --authorization-mode=Node,RBAC
cat >kubeconfig <<CONFIG
apiVersion: v1
kind: Config
clusters: [{ name: test, cluster: { server: "https://127.0.0.1:$api", certificate-authority: "$WORK/certs/apiserver.crt" } }]
users: [{ name: admin, user: { token: admintoken } }]
contexts: [{ name: test, context: { cluster: test, user: admin } }]
current-context: test
CONFIG
export KUBECONFIG="$WORK/kubeconfig"
kubectl() { "$KUBERNETES" kubectl "$@"; }
helm() { "$HELM" "$@"; }
until_ok "the API server" kubectl get --raw /readyz
start controllers "$KUBERNETES" kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false --bind-address=127.0.0.1 --secure-port="$controllers" \
    --cert-dir="$WORK/certs" --service-account-private-key-file=accounts.key --root-ca-file="$WORK/certs/apiserver.crt"
start scheduler "$KUBERNETES" kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false --bind-address=127.0.0.1 --secure-port="$scheduler" --cert-dir="$WORK/certs"
stages="$(go env GOMODCACHE)/sigs.k8s.io/kwok@v0.8.0/kustomize/stage"
for stage in "$stages"/node/fast/*.yaml "$stages"/node/heartbeat-with-lease/*.yaml "$stages"/pod/fast/*.yaml; do
    [[ $stage == */kustomization.yaml ]] || { cat "$stage"; printf '\n---\n'; }
done >stages.yaml
start kwok "$KWOK" --kubeconfig "$KUBECONFIG" --config stages.yaml --manage-all-nodes --node-lease-duration-seconds 40 --server-address "127.0.0.1:$kwok"
kubectl create -f - <<'NODES'
apiVersion: v1
kind: List
items:
  - { apiVersion: v1, kind: Node, metadata: { name: one, labels: { kubernetes.io/hostname: one, arch: amd64 } }, status: { allocatable: { cpu: "32", memory: 64Gi, pods: "99", ephemeral-storage: 100Gi }, capacity: { cpu: "32", memory: 64Gi, pods: "99", ephemeral-storage: 100Gi } } }
  - { apiVersion: v1, kind: Node, metadata: { name: two, labels: { kubernetes.io/hostname: two, arch: amd64 } }, status: { allocatable: { cpu: "32", memory: 64Gi, pods: "99", ephemeral-storage: 100Gi }, capacity: { cpu: "32", memory: 64Gi, pods: "99", ephemeral-storage: 100Gi } } }
NODES
until_ok "the service account of a namespace" kubectl get serviceaccount default

# Every pod is held to Pod Security's strictest.
for namespace in embedded jetstream split; do
    kubectl create namespace "$namespace"
    kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted
    kubectl --namespace "$namespace" create secret generic saf-admin-token --from-literal=token=t
done
kubectl --namespace split create secret generic nats-token --from-literal=token=t
kubectl create -f - <<'VOLUME'
apiVersion: v1
kind: PersistentVolume
metadata: { name: disk }
spec: { capacity: { storage: 20Gi }, accessModes: [ReadWriteOnce], hostPath: { path: /nowhere } }
VOLUME

install() { # namespace values…
    helm --namespace "$1" install saf "$chart" --values "$2" "${@:3}" --wait --timeout 90s
}
install embedded "$chart/ci/default-values.yaml"
install jetstream "$chart/ci/jetstream-plain-values.yaml"
install split "$chart/ci/jetstream-plain-values.yaml" --set roles.split=true --set networkPolicy.enabled=true --set podDisruptionBudget.enabled=true \
    --set broker.token.existingSecret=nats-token --set autoscaling.hpa.enabled=true
kubectl --namespace embedded get statefulset,pod,persistentvolumeclaim
kubectl --namespace split get deployment,horizontalpodautoscaler,poddisruptionbudget,networkpolicy
[[ $(kubectl --namespace embedded get persistentvolumeclaim -o jsonpath='{.items[*].status.phase}') == Bound ]]
[[ $(kubectl --namespace split get deployment -o jsonpath='{.items[*].metadata.name}') == "saf-saf-runtime-consumer saf-saf-runtime-producer" ]]

# The server's own opinion of every rendered manifest: unknown fields are an error.
for values in default jetstream-plain; do
    helm template saf "$chart" --values "$chart/ci/$values-values.yaml" --set fullnameOverride=strict >strict.yaml
    kubectl --namespace default create secret generic ignored --dry-run=client -o name >/dev/null
    kubectl --namespace default create --dry-run=server --validate=strict -f strict.yaml >/dev/null
done
if sed 's/imagePullPolicy/imagePulPolicy/' strict.yaml | kubectl --namespace default create --dry-run=server --validate=strict -f - >/dev/null 2>&1; then
    echo "a misspelt field is taken"; exit 1
fi

# The service account may nothing.
for what in "get secrets" "list pods" "create pods"; do
    # shellcheck disable=SC2086
    if kubectl --namespace embedded auth can-i $what --as system:serviceaccount:embedded:saf-saf-runtime >/dev/null; then
        echo "the service account may $what"; exit 1
    fi
done

# Another router.toml rolls the pods; the same one does not.
pods() { kubectl --namespace jetstream get pods --field-selector status.phase=Running -o jsonpath='{.items[*].metadata.uid}'; }
before=$(pods)
helm --namespace jetstream upgrade saf "$chart" --values "$chart/ci/jetstream-plain-values.yaml" --wait --timeout 90s >/dev/null
[[ $(pods) == "$before" ]] || { echo "an upgrade without a change rolls the pods"; exit 1; }
helm --namespace jetstream upgrade saf "$chart" --values "$chart/ci/jetstream-plain-values.yaml" --set-literal 'config=[streams.events]
max_age = "1h"' --wait --timeout 90s >/dev/null
kubectl --namespace jetstream rollout status deployment/saf-saf-runtime --timeout 60s
for pod in $(pods); do [[ $before != *$pod* ]] || { echo "a pod was not rolled"; exit 1; }; done
helm --namespace jetstream rollback saf --wait --timeout 90s

for namespace in embedded jetstream split; do
    helm --namespace "$namespace" uninstall saf --wait --timeout 90s
    left=$(kubectl --namespace "$namespace" get all,configmap,networkpolicy,poddisruptionbudget -l app.kubernetes.io/instance=saf -o name)
    [[ -z $left ]] || { echo "left in $namespace: $left"; exit 1; }
done
echo "installed, upgraded, rolled back, uninstalled"
