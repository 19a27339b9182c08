"""Any directory of DaemonSet manifests, started on lab hosts and compared with what runs.

    MANIFESTS=DIR make manifests            # every *.yaml in DIR, on podman and docker

Nothing of a manifest is edited. Its image names are served by a registry of the lab, with one
static program behind every command that the manifest names (standin.c); that tells what it was
given, answers probes, and copies what an installer copies. ConfigMaps and Secrets that the file
refers to and does not hold are made up (`manifest`). Then each field that was asked for (`asked`)
is held to what the kernel, the engine and systemd say is there (`found`, `compare`), and a table
of it all is printed at the end.

The manifests in `own/` use, between them, every construct that we have seen in published ones.
"""
