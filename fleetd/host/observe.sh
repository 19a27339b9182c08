# Looks at the host and changes nothing. Costs one `cat`, one `stat` and one `systemctl show` where all
# is as the ledger has it; files are hashed only when their inode, size or ctime moved.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

SHOWN=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,InvocationID
SHOWN=$SHOWN,ActiveEnterTimestampMonotonic,NeedDaemonReload,UnitFileState,FragmentPath,DropInPaths,Job

# The boot of which the facts are known; without one they are told in any case.
BOOT=''

verb_observe() {
  ENGINE=0 FACTS=0
  read_body observe_asked || exit 3
  observe "$ENGINE" "$FACTS"
}

observe_asked() {
  [ "$1" = observe ] || return 0
  plain "$2"
  FLEET=$PLAIN ENGINE=$3 FACTS=$4
  plain "$5"
  BOOT=$PLAIN
}

# observe ENGINE FACTS: prints the parts of an observation; wants FLEET.
observe() {
  observe_host
  if load_ledger; then
    SEEN='' PATHS='' SEALS='' NAMES='' BORROWED='' CONTAINERS='' ENGINES=''
    each observe_line "$LEDGER"
    part ledger 0 "$SEEN"
    observe_files
    observe_units
    [ "$1" = 0 ] || observe_engine
  else
    part ledger 1 "$STATE/ledger is not whole; move it away after a look, and apply again$NL"
  fi
  [ "$2" = 0 ] || [ "$boot" = "$BOOT" ] || observe_facts
}

observe_host() {
  machine='' boot='' up=''
  read -r machine </etc/machine-id
  read -r boot </proc/sys/kernel/random/boot_id
  read -r up _ </proc/uptime
  part clock 0 "${machine:--}$TAB${boot:--}$TAB$up$NL"
  if read_owner; then
    part owner 0 "${OWNER_FLEET:+$OWNER_FLEET$TAB$OWNER_TERM$NL}"
  else
    part owner 1 "$STATE/owner is not whole$NL"
  fi
}

# observe_line KIND DS SLOT ...: takes from one line of the ledger what is to be looked at.
observe_line() {
  case $1 in
    copy)
      SEEN="$SEEN$1$TAB$2$TAB$3$TAB$4$TAB$5$TAB$6$TAB$7$NL"
      has "$ENGINES" "$6" || ENGINES="$ENGINES$6$NL"
      ;;
    unit)
      SEEN="$SEEN$1$TAB$2$TAB$3$TAB$4$TAB$5$NL"
      NAMES="$NAMES$4$NL"
      case $4 in fleetd-*) ;; *) BORROWED="$BORROWED$4$NL" ;; esac
      ;;
    file)
      SEEN="$SEEN$1$TAB$2$TAB$3$TAB$4$NL"
      PATHS="$PATHS$4$NL"
      SEALS="$SEALS$4$TAB$6$TAB$5$NL"
      ;;
    replaced)
      SEEN="$SEEN$1$TAB$2$TAB$3$TAB$4$TAB$5$TAB$6$NL"
      BORROWED="$BORROWED$4$NL"
      ;;
    container)
      SEEN="$SEEN$1$TAB$2$TAB$3$TAB$4$NL"
      CONTAINERS="$CONTAINERS$4$NL"
      ;;
  esac
}

# seals: sets NOW to `path<TAB>inode size ctime mode uid gid` for those of PATHS that exist.
seals() {
  NOW=''
  [ -n "$PATHS" ] || return 0
  IFS=$NL
  # shellcheck disable=SC2086
  set -- $PATHS
  IFS=$TAB$NL' '
  NOW=$(stat -c "%n$TAB%i %s %z %f %u %g" -- "$@" 2>/dev/null)$NL
}

observe_files() {
  seals
  DEVIATIONS=''
  each observe_seal "$SEALS"
  part files 0 "$DEVIATIONS"
}

# observe_seal PATH SEAL SHA256
observe_seal() {
  case $NL$NOW in
    *"$NL$1$TAB$2$NL"*) return 0 ;;
    *"$NL$1$TAB"*) ;;
    *)
      DEVIATIONS="${DEVIATIONS}missing$TAB$1$NL"
      return 0
      ;;
  esac
  now=$NL$NOW
  now=${now#*"$NL$1$TAB"}
  now=${now%%"$NL"*}
  KEYED=$(sha256sum -- "$1" 2>/dev/null)
  KEYED=${KEYED%% *}
  case $3 in keyed-*) keyed "$OWNER_KEY" "$KEYED" ;; esac
  if [ "$KEYED" != "$3" ]; then
    DEVIATIONS="${DEVIATIONS}edited$TAB$1$NL"
  elif [ "${now#"${now% * * *}"}" != "${2#"${2% * * *}"}" ]; then
    DEVIATIONS="${DEVIATIONS}mode$TAB$1$NL"
  fi
}

observe_units() {
  IFS=$NL
  # shellcheck disable=SC2086
  shown=$(systemctl show --no-pager -p "$SHOWN" -- 'fleetd-*' $BORROWED 2>&1)
  status=$?
  MISSING=''
  each observe_named "$NAMES"
  set +f
  for file in "$UNIT_DIR"/fleetd-*; do
    [ -d "$file" ] || [ ! -e "$file" ] && [ ! -L "$file" ] || observe_named "${file##*/}"
  done
  set -f
  if [ "$status" = 0 ] && [ -n "$MISSING" ]; then
    IFS=$NL
    # shellcheck disable=SC2086
    shown=$shown$NL$NL$(systemctl show --no-pager -p "$SHOWN" -- $MISSING 2>&1)
    status=$?
  fi
  IFS=$TAB$NL' '
  part units "$status" "$shown$NL"
  set +f
  observe_notes stamp stamps
  observe_notes probe probes
  set -f
}

# observe_named UNIT: adds to MISSING what `systemctl show` did not show, since a glob finds loaded units only.
observe_named() {
  case $NL$shown$NL in *"${NL}Id=$1$NL"*) return 0 ;; esac
  has "$MISSING" "$1" || MISSING="$MISSING$1$NL"
}

# observe_notes DIRECTORY PART: what units of ours have left under /run, one line each.
observe_notes() {
  notes=''
  for file in "$RUN/$1"/*; do
    case $file in *'/*' | *.tmp) continue ;; esac
    first='' second='' rest=''
    IFS=' ' read -r first second rest <"$file" || [ -n "$first" ] || continue
    notes="$notes${file##*/}$TAB${first:--}$TAB${second:--}"
    [ "$1" = stamp ] || notes="$notes$TAB${rest:--}"
    notes=$notes$NL
  done
  part "$2" 0 "$notes"
}

# observe_engine: the containers that bear our label, and whatever bears a name of the ledger.
observe_engine() {
  ENGINE_STATUS=0 LISTED='' REQUIRED=1
  if [ -z "$ENGINES" ]; then
    # No ledger: an engine that is down is then none of our business.
    REQUIRED=0
    ENGINES="podman${NL}docker$NL"
  fi
  each list_engine "$ENGINES"
  part engine "$ENGINE_STATUS" "$LISTED"
}

# list_engine RUNTIME: adds `id name running ours ds slot revision` lines to LISTED.
list_engine() {
  [ "$1" != systemd ] || return 0
  if ! command -v "$1" >/dev/null 2>&1; then
    [ "$REQUIRED" = 0 ] || engine_failed "$1 is not installed"
    return 0
  fi
  ids=''
  if [ -n "$FLEET" ]; then
    ids=$(timeout -k 5 30 "$1" ps -aq --no-trunc --filter "label=fleetd.fleet=$FLEET" 2>/dev/null)
    status=$?
    if [ "$status" != 0 ]; then
      [ "$REQUIRED" = 0 ] || engine_failed "$1 ps ended with $status"
      return 0
    fi
  fi
  list_containers "$1" "$ids"
  UNSEEN=''
  each list_unseen "$CONTAINERS"
  [ -z "$UNSEEN" ] || list_containers "$1" "$UNSEEN"
}

list_unseen() {
  case $LISTED in *"$TAB$1$TAB"* | *"$TAB/$1$TAB"*) ;; *) UNSEEN="$UNSEEN$1$NL" ;; esac
}

# list_containers RUNTIME NAMES: inspects them; one that has gone meanwhile is no failure.
list_containers() {
  [ -n "$2" ] || return 0
  field() { printf '{{with index .Config.Labels "fleetd.%s"}}{{.}}{{else}}-{{end}}' "$1"; }
  # Not by tabs: those of podman 3 go through a writer that is never flushed, and nothing is printed.
  format="{{.Id}}|{{.Name}}|{{.State.Running}}|$(field fleet)|$(field ds)|$(field slot)|$(field revision)"
  IFS=$NL
  # shellcheck disable=SC2086
  found=$(timeout -k 5 30 "$1" inspect --type container --format "$format" $2 2>/dev/null)
  status=$?
  IFS=$TAB$NL' '
  case $status in 124 | 137) engine_failed "$1 inspect did not end in time" ;; esac
  IFS=$NL
  for line in $found; do
    IFS='|'
    # shellcheck disable=SC2086
    list_found $line
  done
  IFS=$TAB$NL' '
}

list_found() {
  running=0 ours=0
  [ "$3" != true ] || running=1
  [ -z "$FLEET" ] || [ "$4" != "$FLEET" ] || ours=1
  LISTED="$LISTED$1$TAB$2$TAB$running$TAB$ours$TAB$5$TAB$6$TAB$7$NL"
}

engine_failed() {
  ENGINE_STATUS=1
  one_line "$1"
  LISTED=$ONE_LINE$NL
}

# os_release: sets DISTRIBUTION to its name and version, such as `debian 12`.
os_release() {
  id='' version=''
  while IFS='=' read -r name value; do
    value=${value#[\"\']}
    case $name in
      ID) id=${value%[\"\']} ;;
      VERSION_ID) version=${value%[\"\']} ;;
    esac
  done </etc/os-release
  DISTRIBUTION="$id${version:+ $version}"
} 2>/dev/null

observe_facts() {
  read -r host </proc/sys/kernel/hostname
  read -r kernel </proc/sys/kernel/osrelease
  machine=$(uname -m)
  case $machine in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    armv*) arch=arm ;;
    i?86) arch=386 ;;
    ppc64le | s390x | riscv64) arch=$machine ;;
    *) arch=$(printf '%s' "$machine" | tr 'A-Z-' 'a-z_' | head -c 20) ;;
  esac
  os_release
  systemd=$(systemctl --version 2>/dev/null)
  systemd=${systemd#systemd }
  systemd=${systemd%%[!0-9]*}
  podman=$(podman --version 2>/dev/null)
  podman=${podman##* }
  docker=$(timeout -k 5 20 docker version --format '{{.Server.Version}}' 2>/dev/null) || docker=''
  cgroup=1 selinux=0
  [ ! -e /sys/fs/cgroup/cgroup.controllers ] || cgroup=2
  [ ! -e /sys/fs/selinux/enforce ] || selinux=1
  facts="hostname$TAB${host:--}${NL}os${TAB}linux${NL}arch$TAB$arch${NL}kernel$TAB${kernel:--}$NL"
  facts="${facts}distribution$TAB${DISTRIBUTION:--}${NL}systemd$TAB${systemd:-0}$NL"
  facts="${facts}podman$TAB${podman:--}${NL}docker$TAB${docker:--}$NL"
  facts="${facts}cgroup$TAB$cgroup${NL}selinux$TAB$selinux$NL"
  part facts 0 "$facts"
}
