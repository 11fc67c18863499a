#!/bin/sh
# Installs FreeSWITCH's own Debian packages, for the live suite. Their server asks for a token: SIGNALWIRE_TOKEN.
# Meant for a throw-away container, as root.
set -eu
: "${SIGNALWIRE_TOKEN:?has to hold a token of https://signalwire.com}"
server=freeswitch.signalwire.com
repository="https://$server/repo/deb/debian-release"
keys=/usr/share/keyrings/signalwire-freeswitch-repo.gpg

umask 077
echo "machine $server login signalwire password $SIGNALWIRE_TOKEN" >/etc/apt/auth.conf.d/freeswitch.conf
# The token goes by a file, not by the command line, which every process can read.
echo "machine $server login signalwire password $SIGNALWIRE_TOKEN" >"$HOME/.netrc"
umask 022
wget -q -O "$keys" "$repository/signalwire-freeswitch-repo.gpg"
chmod 644 "$keys"
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
echo "deb [signed-by=$keys] $repository/ $release main" >/etc/apt/sources.list.d/freeswitch.list
apt-get update -qq
apt-get install -y -qq --no-install-recommends freeswitch freeswitch-mod-commands freeswitch-mod-console \
    freeswitch-mod-dialplan-xml freeswitch-mod-dptools freeswitch-mod-event-socket freeswitch-mod-fail2ban \
    freeswitch-mod-logfile freeswitch-mod-loopback freeswitch-mod-sofia freeswitch-mod-verto libfreeswitch-dev \
    pkg-config
