#!/bin/sh
# Prints the tags that a release's images get, one a line. Standard input is all version tags of the repository
# (`git tag --list 'v*'`). A release candidate moves no other tag; a fix of an older minor version does not move `latest`.
#   sh mk/image-tags.sh 0.6.2 <TAGS
set -eu

version=$1
case $version in
*[!0-9.a-z-]* | '' | -* | *- | *.)
    echo "image-tags: $version is not a version" >&2
    exit 1
    ;;
esac
echo "$version"
case $version in
*-*) exit 0 ;;
esac

minor=${version%.*}
# Versions of releases alone, this one among them.
released=$(
    {
        grep -E '^v[0-9]+\.[0-9]+\.[0-9]+$' || true
        echo "v$version"
    } | cut -c 2- | sort --version-sort
)
if [ "$(echo "$released" | grep "^$(echo "$minor" | sed 's/\./\\./g')\." | tail -n 1)" = "$version" ]; then
    echo "$minor"
fi
if [ "$(echo "$released" | tail -n 1)" = "$version" ]; then
    echo latest
fi
