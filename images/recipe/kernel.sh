# SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
# Adds the kernel image and its modules to the build root ($1): unpacked, not installed, because nothing in the root
# boots and an installation would build an initramfs there. Then removes what only the making needed.
set -eu
root=$1
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
# The meta package leads to the image, which some releases split into binary and modules.
packages=$(apt-cache depends --recurse --important linux-image-amd64 | grep -E '^linux-(image|binary|modules)-[0-9]')
downloads=$root/var/tmp/kernel
mkdir "$downloads"
cd "$downloads"
# shellcheck disable=SC2086
apt-get -o APT::Sandbox::User=root download $packages
for package in *.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -C "$root" -x --keep-directory-symlink
done
cd /
rm -rf "$downloads" "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/var/log
# A headers package that does not fit the image would only show when the module is loaded.
release=$(ls "$root/usr/lib/modules")
test -e "$root/usr/lib/modules/$release/modules.order"
test -e "$root/usr/lib/modules/$release/build"
