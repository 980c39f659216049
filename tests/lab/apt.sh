# apt.sh: functions of the scripts that install labs; to be sourced

say() { echo "lab/$(basename "$0"): $*" >&2; }
fail() { say "$*"; exit 1; }

# private_apt FOLDER SUITE: create an apt for one suite, from the system's mirror, used with
# APT_CONFIG=FOLDER/apt.conf; the system's sources do not change
private_apt() {
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | awk '$2 !~ /-/ {sub("/$", "", $1); print $1; exit}')
  [ -n "$mirror" ] || fail "apt-get knows no mirror"
  mkdir -p "$1"/{lists/partial,archives/partial,etc/apt.conf.d,etc/preferences.d,etc/trusted.gpg.d,state}
  : >"$1/state/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $2 main" >"$1/etc/sources.list"
  cat >"$1/apt.conf" <<CONF
Dir::Etc "$1/etc"; Dir::State "$1/state"; Dir::State::Lists "$1/lists"; Dir::State::status "$1/state/status"; Dir::Cache "$1";
Acquire::Languages "none"; Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Check-Valid-Until "false"; Acquire::Retries "3"; APT::Sandbox::User "root";
APT::Architecture "$(dpkg --print-architecture)";
CONF
}

# download PACKAGE…: from the system's own suite, into the working directory
download() {
  apt-get -qq -o APT::Sandbox::User=root download "$@" ||
    { apt-get -qq update && apt-get -qq -o APT::Sandbox::User=root download "$@"; }
}
