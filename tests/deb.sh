#!/bin/sh
# Makes a Debian package of what `make build` has built: deb.sh VERSION MODULES CONF
set -eu
version=$1 modules=$2 conf=$3
arch=$(dpkg --print-architecture)
name=freeswitch-mod-fail2ban
root=target/deb
rm -rf "$root"
put() { install -D -m "$1" "$2" "$root$3"; }
put 755 target/release/libmod_fail2ban.so "$modules/mod_fail2ban.so"
put 644 conf/autoload_configs/fail2ban.conf.xml "$conf/autoload_configs/fail2ban.conf.xml"
put 644 conf/fail2ban/filter.d/freeswitch-fail2ban.conf /etc/fail2ban/filter.d/freeswitch-fail2ban.conf
put 644 conf/fail2ban/jail.d/freeswitch-fail2ban.conf /etc/fail2ban/jail.d/freeswitch-fail2ban.conf
put 644 conf/logrotate/freeswitch-fail2ban /etc/logrotate.d/freeswitch-fail2ban
put 644 README.md "/usr/share/doc/$name/README.md"
put 644 LICENSE "/usr/share/doc/$name/copyright"
mkdir "$root/DEBIAN"
# What an administrator has changed is asked about at an upgrade, never overwritten.
(cd "$root" && find . -type f \( -path './etc/*' -o -name fail2ban.conf.xml \)) | sed 's/^\.//' | sort \
    > "$root/DEBIAN/conffiles"
cat > "$root/DEBIAN/control" <<EOF
Package: $name
Version: $version
Architecture: $arch
Section: comm
Priority: optional
Maintainer: the mod_fail2ban authors <mod-fail2ban@localhost>
Depends: libc6 (>= 2.34), libgcc-s1
Suggests: fail2ban, nftables
Description: tells fail2ban who is attacking FreeSWITCH
 A module for FreeSWITCH 1.10 that writes a log of failed registrations, calls
 and logins for fail2ban, with a filter and a jail that is off until enabled.
EOF
dpkg-deb --root-owner-group --build "$root" "target/${name}_${version}_$arch.deb"
