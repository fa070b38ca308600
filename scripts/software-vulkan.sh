#!/bin/sh
# Unpacks Mesa's software driver for Vulkan into the given folder, and prints the environment that uses it. Installs nothing. Debian 12.
set -e
folder=$(mkdir -p "$1" && cd "$1" && pwd)
root="$folder/root"
icd="$root/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"
if [ ! -e "$folder/whole" ]; then
    rm -rf "$root" && mkdir -p "$root" && cd "$folder"
    apt-get download -qq libvulkan1 mesa-vulkan-drivers libllvm15 libdrm2 libdrm-amdgpu1 libedit2 libz3-4 libwayland-client0 libx11-xcb1 libxcb1 \
        libxcb-dri3-0 libxcb-present0 libxcb-randr0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libxshmfence1 libxau6 libxdmcp6 libbsd0 libmd0 \
        libelf1 libexpat1 libffi8 libxml2 libicu72 libtinfo6 >&2
    for package in *.deb; do dpkg -x "$package" root; done
    rm -- *.deb
    sed -i "s|\"library_path\": \"/usr|\"library_path\": \"$root/usr|" "$icd"
    touch "$folder/whole"
fi
echo "VK_ICD_FILENAMES=$icd"
echo "LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu"
echo "GGML_VK_VISIBLE_DEVICES=0"
