# METADATA
# scope: package
# title: What several rules share
# description: |
#   The values are data, in data.yaml beside this file. A rule binds them whole, `settings := data.gateway.settings`,
#   and takes from there: for a path of data that is no package's own, the embedded engine looks through all packages
#   each time; for this one, once.
package gateway.settings
