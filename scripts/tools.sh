#!/usr/bin/env bash
# Installs the programs that the integration tests drive, and caches them:
#
#   kcat                 Debian's package; needs root
#   versitygw, minio     built with `go install`, into $SLUICE_TOOLS/bin
#   Apache Kafka's jars  by Maven (Debian's package; a JDK comes with it);
#                        their class path is written to $SLUICE_TOOLS/kafka.classpath
#   Python's clients     by pip, in a virtual environment: $SLUICE_TOOLS/python
#
# Does nothing for what is there already. With --check it installs nothing,
# names what is missing and fails if anything is.
set -euo pipefail

versitygw_version=v1.8.0
minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
kafka_version=4.3.1 # stands in scripts/kafka/pom.xml too
python_clients=(confluent-kafka==2.16.1 aiokafka==0.14.0 kafka-python==3.0.12
	cramjam==2.14.0 crc32c==2.9.post0 lz4==4.4.5 python-snappy==0.7.3 zstandard==0.25.0) # their codecs

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${SLUICE_TOOLS:-$HOME/.cache/sluice-tools}
mode=${1:-install}
missing=()

say() { printf 'tools: %s\n' "$*" >&2; }

# apt_install COMMAND PACKAGE...: the packages that bring the command.
apt_install() {
	command -v "$1" >/dev/null || apt_packages "$@"
}

# apt_packages NAME PACKAGE...: the packages that bring what is missing.
apt_packages() {
	local name=$1
	shift
	if [ "$mode" = --check ]; then missing+=("$name (apt-get install $*)"); return; fi
	if [ "$(id -u)" != 0 ]; then
		say "$name is missing and only root can install it: apt-get install $*"
		exit 1
	fi
	say "installing $*"
	apt_update
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# apt_update brings the package lists, once per run.
updated=no
apt_update() {
	[ "$updated" = no ] || return 0
	apt-get update -qq
	updated=yes
}

# go_install COMMAND MODULE PACKAGE VERSION: pinned; built again when the pin moves.
go_install() {
	local have
	have=$(go version -m "$tools/bin/$1" 2>/dev/null | awk -v m="$2" '$1=="mod" && $2==m {print $3}') || true
	[ "$have" != "$4" ] || return 0
	if [ "$mode" = --check ]; then missing+=("$1 (make tools)"); return; fi
	say "building $1 $4 (a minute or two)"
	mkdir -p "$tools/bin"
	GOBIN="$tools/bin" GOFLAGS= CGO_ENABLED=0 go install -trimpath "$3@$4"
}

# kafka_jars resolves Kafka's class path, unless it was resolved for this
# version before and each of its jars is still there.
kafka_jars() {
	local out="$tools/kafka.classpath" jar complete=yes
	if [ "$(cat "$tools/kafka.version" 2>/dev/null)" = "$kafka_version" ] && [ -s "$out" ]; then
		while IFS= read -r -d : jar; do [ -f "$jar" ] || complete=no; done < <(printf '%s:' "$(cat "$out")")
		if [ "$complete" = yes ]; then return; fi
	fi
	if [ "$mode" = --check ]; then missing+=("Apache Kafka $kafka_version (make tools)"); return; fi
	say "resolving Apache Kafka $kafka_version (a few minutes the first time)"
	mkdir -p "$tools"
	mvn -q -B -f "$here/kafka/pom.xml" -Dkafka.version="$kafka_version" \
		dependency:build-classpath -Dmdep.outputFile="$out.new"
	mv "$out.new" "$out"
	echo "$kafka_version" >"$tools/kafka.version"
}

# python_venv holds Python's clients, pinned; made again when a pin moves.
python_venv() {
	local venv="$tools/python"
	if [ "$(cat "$venv/pins" 2>/dev/null)" = "${python_clients[*]}" ] && "$venv/bin/python" -c '' 2>/dev/null; then return; fi
	if [ "$mode" = --check ]; then missing+=("Python's clients (make tools)"); return; fi
	say "installing ${python_clients[*]:0:3} for Python"
	mkdir -p "$tools"
	python3 -m venv --clear "$venv"
	"$venv/bin/pip" install -q --disable-pip-version-check --no-deps async-timeout==5.0.1 packaging==26.3 \
		typing_extensions==4.16.0 "${python_clients[@]}"
	echo "${python_clients[*]}" >"$venv/pins"
}

# package_lists: the real-input test reads Debian's package index.
package_lists() {
	command -v apt-cache >/dev/null || return 0
	[ "$mode" != --check ] && [ "$(id -u)" = 0 ] || return 0
	compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || apt_update
}

apt_install kcat kcat
apt_install gcc gcc libc6-dev # the race detector links with it
apt_install javac default-jdk-headless # the client tests compile a driver
apt_install mvn maven
go_install versitygw github.com/versity/versitygw github.com/versity/versitygw/cmd/versitygw "$versitygw_version"
go_install minio github.com/minio/minio github.com/minio/minio "$minio_version"
kafka_jars
# Debian's python3 comes without the part that makes environments.
python3 -c 'import ensurepip, venv' 2>/dev/null || apt_packages python3 python3 python3-venv
python_venv
package_lists

if [ ${#missing[@]} -gt 0 ]; then
	for m in "${missing[@]}"; do say "missing: $m"; done
	say "tests that need them will say so; 'make tools' installs them"
	exit 1
fi
say "all there"
