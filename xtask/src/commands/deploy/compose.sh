#!/usr/bin/env bash
# Brings docker-compose.yml up with podman-compose, posts an event, sees what came of it, takes everything down. Called by `cargo xtask test --deploy`:
#   CHECKOUT        the checkout          WORK      a folder of this test's own
#   IMAGE           the image's files     NATS_SERVER, PODMAN_COMPOSE   the programs
#
# No registry is asked: each image is made here, under the name that the compose file says, of the programs of this machine. podman gets a store of its
# own below WORK, and a mount namespace without cgroups v2, which it refuses beside v1.
set -euo pipefail

if [[ ${1:-} != inside ]]; then
    rm -rf "$WORK" && mkdir -p "$WORK"
    exec unshare --mount bash "$0" inside
fi

mapfile -t unified < <(awk '$3 == "cgroup2" { print $2 }' /proc/mounts)
if grep -q '^cgroup ' /proc/mounts; then
    for place in "${unified[@]}"; do umount "$place"; done
fi
ulimit -n 8192 -u 8192 2>/dev/null || true
cat >"$WORK/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[network]
network_backend = "netavark"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
export CONTAINERS_CONF="$WORK/containers.conf" BUILDAH_ISOLATION=chroot
store=(--root "$WORK/root" --runroot "$WORK/run")
cat >"$WORK/podman" <<WRAPPER
#!/bin/sh
exec podman ${store[*]} --network-config-dir "$WORK/networks" "\$@"
WRAPPER
chmod +x "$WORK/podman"
bud() { buildah "${store[@]}" bud --quiet --pull=never --format docker "$@" >/dev/null; }

# The router: the Dockerfile's own last stage, on the files that its first one would have made.
mkdir -p "$WORK/router" && cp -a "$IMAGE" "$WORK/router/image"
mkdir -p "$WORK/router/etc/ssl/certs"
bud --target runtime --build-context "build=$WORK/router" --tag saf-runtime:0.1.0 --file "$CHECKOUT/Dockerfile" "$WORK/router"

# nats: the static server, and a wget for the health check.
mkdir -p "$WORK/nats"
cp "$NATS_SERVER" "$WORK/nats/nats-server" && cp "$(command -v busybox)" "$WORK/nats/wget"
printf 'FROM scratch\nCOPY nats-server wget /bin/\nENV PATH=/bin\nENTRYPOINT ["/bin/nats-server"]\n' >"$WORK/nats/Dockerfile"
bud --tag docker.io/library/nats:2.15.2-alpine "$WORK/nats"

profiles=()
mosquitto=$(PATH="$PATH:/usr/sbin" command -v mosquitto || true)
if [[ -n $mosquitto ]]; then
    profiles=(--profile mqtt)
    mkdir -p "$WORK/mosquitto/root/usr/sbin" && cp "$mosquitto" "$WORK/mosquitto/root/usr/sbin/"
    ldd "$mosquitto" | grep -o '/[^ )]*' | while read -r library; do cp --parents -L "$library" "$WORK/mosquitto/root"; done
    printf 'mosquitto:x:1883:1883::/:/bin/false\n' | install -D /dev/stdin "$WORK/mosquitto/root/etc/passwd"
    printf 'FROM scratch\nCOPY root /\nENV PATH=/usr/sbin\n' >"$WORK/mosquitto/Dockerfile"
    bud --tag docker.io/library/eclipse-mosquitto:2.0.22 "$WORK/mosquitto"
else
    echo "SKIPPED: the profile mqtt, since there is no mosquitto (Debian: apt-get install mosquitto)"
fi

# Ports of this test's own: nothing else on this machine is in the way.
declare -A ports
expressions=()
for port in 1378 1379 4222 1883; do
    ports[$port]=$((20000 + RANDOM % 20000))
    expressions+=(-e "s/127\\.0\\.0\\.1:$port:/127.0.0.1:${ports[$port]}:/")
done
cp -r "$CHECKOUT/deploy" "$WORK/deploy"
# What is built is built above.
sed "${expressions[@]}" -e '/^  build:$/,/^    context/d' "$CHECKOUT/docker-compose.yml" >"$WORK/docker-compose.yml"

compose() { "$PODMAN_COMPOSE" --podman-path "$WORK/podman" --file "$WORK/docker-compose.yml" --project-name saf-test "${profiles[@]}" "$@"; }
down() {
    code=$?
    if ((code != 0)); then compose logs 2>&1 | tail -60 || true; fi
    compose down --volumes --timeout 20 >"$WORK/down.log" 2>&1 || tail -5 "$WORK/down.log"
    exit "$code"
}
trap down EXIT
cd "$WORK"
# podman has systemd call health checks; here this loop does, for the services that wait for a healthy one.
while sleep 1; do "$WORK/podman" healthcheck run saf-test_nats_1 >/dev/null 2>&1 || true; done &
checks=$!
compose up --detach >"$WORK/up.log" 2>&1 || { kill "$checks"; tail -20 "$WORK/up.log"; exit 1; }
kill "$checks"

saf() { "$IMAGE/saf-runtime" "$@"; }
SAF_URL="http://127.0.0.1:${ports[1379]}" SAF_TOKEN=$(cat "$CHECKOUT/deploy/compose/admin-token") SAF_INGEST_URL="http://127.0.0.1:${ports[1378]}"
export SAF_URL SAF_TOKEN SAF_INGEST_URL
for ((n = 0; n < 600; n++)); do saf health >/dev/null 2>&1 && break; sleep 0.2; done
saf health
saf send hello '{"from": "compose"}' --until echo.hello
# The health checks of the file, as an engine calls them.
"$WORK/podman" healthcheck run saf-test_runtime_1
"$WORK/podman" healthcheck run saf-test_nats_1
# Read-only, nobody's user, without capabilities.
"$WORK/podman" inspect saf-test_runtime_1 --format '{{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.EffectiveCaps}}' | grep -F 'true 65532:65532 []'
if [[ -n $mosquitto ]]; then
    saf send ride.accepted '{"driver": 7}' --until enriched.ride.accepted
    # Through mosquitto's own counter: the second router has published it.
    for ((n = 0; n < 300; n++)); do "$WORK/podman" logs saf-test_mosquitto_1 2>&1 | grep -q 'New client connected' && break; sleep 0.2; done
    "$WORK/podman" logs saf-test_mosquitto_1 2>&1 | grep 'New client connected'
fi
"$WORK/podman" stop --time 30 saf-test_runtime_1 >/dev/null
code=$("$WORK/podman" inspect saf-test_runtime_1 --format '{{.State.ExitCode}}')
[[ $code == 0 ]] || { echo "after SIGTERM the router ended with $code"; exit 1; }
echo "up, an event through, down"
