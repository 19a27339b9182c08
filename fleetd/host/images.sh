# The book of images: which ones fleetd brought to this host, and which of them are needed yet.
#
# `$STATE/images` has a line `pulled RUNTIME ID NAME DS STATE`, or `pushed` in its place, for each name of an image
# that was not here before fleetd brought it (STATE is `used` once a copy had it, else `new`), and lines
# `previous DS IMAGE` for what the copies of a DaemonSet had before their present ones. What is not in the book is
# never removed, nor what anything else here has a name or a container for. Before an image is fetched, the ids
# that are here are written into `$STATE/fetch/OP`, so that after any cut it is still known what was new.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

BOOK='' SUPERSEDED=0

# name_of WORDS: sets OP to what the transient unit of a fetch and its files are named by.
name_of() {
  OP=$(printf '%s' "$RUNTIME $1" | sha256sum)
  OP=${OP%"${OP#????????????????}"}
}

# full_name IMAGE: sets FULL to the name with its registry and tag. A name without a registry means Docker's, as
# in Kubernetes; podman by itself would look in the registries that this host happens to search, or in none.
full_name() {
  FULL=$1
  case $1 in
    */*)
      case ${1%%/*} in
        *.* | *:* | localhost) ;;
        *) FULL=docker.io/$1 ;;
      esac
      ;;
    *) FULL=docker.io/library/$1 ;;
  esac
  case $FULL in
    *@*) ;;
    *) case ${FULL##*/} in *:*) ;; *) FULL=$FULL:latest ;; esac ;;
  esac
}

# told_no: reports STEP and WHY, or the refusal, without a look at the host.
told_no() {
  exec 9>&-
  one_line "$WHY"
  if [ "$REFUSED" = 1 ]; then
    part refused 0 "$OWNER_FLEET$TAB$OWNER_TERM$TAB$ONE_LINE$NL"
  else
    part apply 0 "failed$TAB$STEP$TAB$ONE_LINE$NL"
  fi
}

# load_book: sets BOOK to its lines. Fails when it is not whole.
load_book() {
  BOOK=''
  [ -e "$STATE/images" ] || return 0
  BOOK=$(cat "$STATE/images") || return 1
  case $NL$BOOK in
    *"${NL}end") BOOK=${BOOK%end} ;;
    *) return 1 ;;
  esac
}

put_book() {
  if [ -z "$BOOK" ]; then
    rm -f -- "$STATE/images"
  else
    put "$STATE/images" "${BOOK}end$NL" || fail images "cannot write $STATE/images: $SAID"
  fi
}

# image_id RUNTIME IMAGE: sets ID, empty when it is not here. Fails when the engine does not tell.
image_id() {
  ID=$(timeout -k 5 60 "$1" image inspect --format '{{.Id}}' -- "$2" 2>/dev/null) && [ -n "$ID" ] && {
    ID=sha256:${ID#sha256:}
    return 0
  }
  ID=''
  image_ids "$1"
}

# image_ids RUNTIME: sets IDS to those of all images that are here.
image_ids() {
  IDS=$(timeout -k 5 60 "$1" images -aq --no-trunc 2>/dev/null) || return 1
  [ -z "$IDS" ] || IDS=$IDS$NL
}

# intend IMAGE [NAME]: writes down what is here before IMAGE is fetched for DS, to be named NAME; OP names it.
intend() {
  [ ! -e "$STATE/fetch/$OP" ] || return 0
  image_ids "$RUNTIME" || fail images "$RUNTIME does not list its images" || return 1
  SAID=$(mkdir -p -m 0700 "$STATE" "$STATE/fetch" 2>&1) || fail images "$SAID" || return 1
  full_name "${2:-$1}"
  put "$STATE/fetch/$OP" "$RUNTIME$TAB$1$TAB${DS:--}$TAB$FULL$NL$IDS" ||
    fail images "cannot write $STATE/fetch/$OP: $SAID"
}

# settle OP: the fetch is over; what it brought goes into the book.
settle() {
  [ -e "$STATE/fetch/$1" ] || return 0
  lock || return 1
  settled=0
  settle_locked "$1" || settled=1
  exec 9>&-
  return "$settled"
}

settle_locked() {
  IFS=$TAB read -r engine image owner name <"$STATE/fetch/$1" || return 1
  image_id "$engine" "$image" && load_book || return 1
  if [ -n "$ID" ] && new_here "$1"; then
    how=pulled
    [ "$owner" != - ] || how=pushed
    has_entry "$how$TAB$engine$TAB$ID$TAB$name" ||
      BOOK="$BOOK$how$TAB$engine$TAB$ID$TAB$name$TAB$owner${TAB}new$NL"
    put_book || return 1
  fi
  rm -f -- "$STATE/fetch/$1"
}

# new_here OP: whether the image ID was brought by us, by this fetch or an earlier one.
new_here() {
  ! has_entry "pulled$TAB$engine$TAB$ID" && ! has_entry "pushed$TAB$engine$TAB$ID" || return 0
  ! has "$(cat "$STATE/fetch/$1")$NL" "$ID"
}

# has_entry FIELDS: whether a line of BOOK begins with these.
has_entry() {
  case $NL$BOOK in *"$NL$1$TAB"*) return 0 ;; esac
  return 1
}

# settle_rest: under the lock; fetches that a cut left unsettled.
settle_rest() {
  [ -d "$STATE/fetch" ] || return 0
  set +f
  for intent in "$STATE/fetch"/*; do
    intent=${intent##*/}
    case $intent in '*' | *.new) continue ;; esac
    systemctl is-active --quiet "fleetd-op-$intent.service" || settle_locked "$intent"
  done
  set -f
}

# supersede DS OLD NEW: under the lock, before the ledger changes: what the copies of DS had, and will have, one
# image per line. What they lose is from now on what they had before.
supersede() {
  LOST='' NEW_IMAGES=$3 OF=$1
  each lost_image "$2"
  [ -n "$LOST" ] || return 0
  SUPERSEDED=1
  [ -e "$STATE/images" ] || return 0
  load_book || return 0
  KEPT=''
  each forget_previous "$BOOK"
  BOOK=$KEPT$LOST
  put_book
}

lost_image() {
  has "$NEW_IMAGES" "$1" || LOST="${LOST}previous$TAB$OF$TAB$1$NL"
}

forget_previous() {
  [ "$1:$2" = "previous:$OF" ] || KEPT=$KEPT$line$NL
}

# images_of DS LINES: sets IMAGES_OF to the images that the ledger's lines have for a DaemonSet.
images_of() {
  IMAGES_OF='' OF=$1
  each image_of "$2"
}

image_of() {
  [ "$1:$2" = "image:$OF" ] || return 0
  has "$IMAGES_OF" "$4" || IMAGES_OF="$IMAGES_OF$4$NL"
}

# collect_images DS: under the lock, when the ledger is as it is to be. Takes away what copies had and nobody needs
# any more, and what was fetched for DS and then was not wanted. DS `*`: everything that fleetd brought. Whatever
# cannot be known stays.
collect_images() {
  CHANGED_DS=$1
  settle_rest
  [ -e "$STATE/images" ] || return 0
  load_book || return 0
  WAS=$BOOK KEPT='' GONE_IDS=''
  each drop_previous "$BOOK"
  BOOK=$KEPT
  for engine in podman docker; do
    has_entry "pulled$TAB$engine" || has_entry "pushed$TAB$engine" || continue
    command -v "$engine" >/dev/null 2>&1 || continue
    image_ids "$engine" || continue
    HERE=$IDS NEEDED='' KEPT=''
    if [ "$CHANGED_DS" != '*' ]; then
      each need "$BOOK$LEDGER" || continue
    fi
    each keep_or_collect "$BOOK"
    BOOK=$KEPT
  done
  [ "$BOOK" = "$WAS" ] || put_book
}

# drop_previous: a DaemonSet that has no copy here has none before it either.
drop_previous() {
  case $1 in
    previous)
      case $NL$LEDGER in *"${NL}copy$TAB$2$TAB"*) ;; *) return 0 ;; esac
      ;;
  esac
  KEPT=$KEPT$line$NL
}

# need: adds the id of an image that the ledger or the book names to NEEDED.
need() {
  case $1 in
    image) image_id "$engine" "$4" || return 1 ;;
    previous) image_id "$engine" "$3" || return 1 ;;
    *) return 0 ;;
  esac
  [ -z "$ID" ] || NEEDED=$NEEDED$ID$NL
}

# keep_or_collect KIND RUNTIME ID NAME DS STATE
keep_or_collect() {
  entry=$line
  case $1:$2 in
    "pulled:$engine" | "pushed:$engine") ;;
    *)
      KEPT=$KEPT$entry$NL
      return 0
      ;;
  esac
  has "$HERE" "$3" || return 0
  if has "$NEEDED" "$3"; then
    KEPT="$KEPT$1$TAB$2$TAB$3$TAB$4$TAB$5${TAB}used$NL"
    return 0
  fi
  case $CHANGED_DS:$6:$SUPERSEDED:$5 in
    '*':* | *:used:* | "$CHANGED_DS:new:1:$CHANGED_DS")
      has "$GONE_IDS" "$3" || remove_image "$2" "$3" || KEPT=$KEPT$entry$NL
      ;;
    *) KEPT=$KEPT$entry$NL ;;
  esac
}

# remove_image RUNTIME ID: unless it has a name that fleetd did not give it, or a container (which podman 3
# finds by the bare id alone).
remove_image() {
  tags=$(timeout -k 5 60 "$1" image inspect --format '{{range .RepoTags}}{{.}} {{end}}' -- "$2" 2>/dev/null) || return 1
  users=$(timeout -k 5 60 "$1" ps -aq --filter "ancestor=${2#sha256:}" 2>/dev/null) || return 1
  [ -z "$users" ] || return 1
  IFS=$TAB$NL' '
  for tag in $tags; do
    full_name "$tag"
    has_entry "pulled$TAB$1$TAB$2$TAB$FULL" || has_entry "pushed$TAB$1$TAB$2$TAB$FULL" || return 1
  done
  for tag in $tags; do
    timeout -k 10 120 "$1" rmi -- "$tag" >/dev/null 2>&1 9>&- || return 1
  done
  image_id "$1" "$2" || return 1
  [ -z "$ID" ] || timeout -k 10 120 "$1" rmi -- "$2" >/dev/null 2>&1 9>&- || return 1
  GONE_IDS=$GONE_IDS$2$NL
}
