"""The rows of the field table; `fields` explains the columns and reads them."""

# ruff: noqa: E501 - one field, one line
from __future__ import annotations

_OBJECTS = """
# ObjectMeta
name                        string          honoured
namespace                   string          honoured
labels                      map[string]     honoured
annotations                 map[string]     honoured
generateName                string          refused   the name decides which agent is meant; set name
creationTimestamp           any             ignored   - the state keeps its own
deletionTimestamp           any             ignored   - the state keeps its own
deletionGracePeriodSeconds  any             ignored   - the state keeps its own
uid                         any             ignored   - the state keeps its own
resourceVersion             any             ignored   - the state keeps its own
generation                  any             ignored   - the state keeps its own
selfLink                    any             ignored   - written by an API server
managedFields               any             ignored   - written by an API server
ownerReferences             any             ignored   - written by an API server
finalizers                  any             ignored   - written by an API server
clusterName                 any             ignored   - written by an API server

# TemplateMeta < ObjectMeta
name                        string          ignored   - a copy is named after its DaemonSet and node
namespace                   string          ignored   - a copy is in its DaemonSet's namespace
generateName                string          ignored   - a copy is named after its DaemonSet and node

# DaemonSet
apiVersion                  string          honoured
kind                        string          honoured
metadata                    ObjectMeta      honoured
spec                        DaemonSetSpec   honoured
status                      any             ignored   - observed, never written

# DaemonSetSpec
selector                    LabelSelector   honoured
template                    Template        honoured
updateStrategy              UpdateStrategy  honoured
minReadySeconds             int             honoured  on the host's clock; 10 s when 0 and there is no readinessProbe
revisionHistoryLimit        int             honoured
templateGeneration          any             ignored   - replaced by revisions

# LabelSelector
matchLabels                 map[string]     honoured
matchExpressions            []LabelSelectorRequirement  honoured

# LabelSelectorRequirement
key                         string          honoured
operator                    string          honoured
values                      []string        honoured

# UpdateStrategy
type                        string          honoured
rollingUpdate               RollingUpdate   honoured

# RollingUpdate
maxUnavailable              intOrString     honoured
maxSurge                    intOrString     honoured  also beside a maxUnavailable above 0, which Kubernetes refuses

# Template
metadata                    TemplateMeta    honoured
spec                        PodSpec         honoured

# ConfigMap
apiVersion                  string          honoured
kind                        string          honoured
metadata                    ObjectMeta      honoured
data                        map[string]     honoured
binaryData                  map[string]     honoured
immutable                   bool            honoured

# Secret
apiVersion                  string          honoured
kind                        string          honoured
metadata                    ObjectMeta      honoured
type                        string          honoured
data                        map[string]     honoured
stringData                  map[string]     emulated  folded into data
immutable                   bool            honoured

# Namespace
apiVersion                  string          honoured
kind                        string          honoured
metadata                    ObjectMeta      honoured
spec                        any             ignored   - a namespace is a name and nothing else
status                      any             ignored   - observed, never written
"""

_SYSTEMD = """
# SystemdDaemonSet < DaemonSet
spec                        SystemdDaemonSetSpec  honoured

# SystemdDaemonSetSpec < DaemonSetSpec
template                    SystemdTemplate       honoured

# SystemdTemplate < Template
spec                        SystemdSpec           honoured

# SystemdSpec
systemd                     Systemd         honoured
nodeName                    string          honoured
nodeSelector                map[string]     honoured
affinity                    Affinity        honoured
tolerations                 []Toleration    honoured

# Systemd
unit                        string          honoured
timer                       string          honoured
socket                      string          honoured
existingUnit                string          honoured
credentials                 []Credential    honoured
files                       []UnitFile      honoured
users                       []SystemUser    honoured
env                         []SystemdEnvVar honoured
readinessProbe              Probe           honoured

# UnitFile
path                        string          honoured
owner                       string          honoured
group                       string          honoured
mode                        mode            honoured
content                     string          honoured
contentBase64               string          honoured
source                      string          emulated  read beside the document when it is loaded
perArchitecture             map[string]     honoured
configMapKeyRef             KeyRef          honoured
secretKeyRef                KeyRef          honoured
onChange                    string          honoured

# Credential
name                        string          honoured
configMapKeyRef             KeyRef          honoured
secretKeyRef                KeyRef          honoured

# SystemUser
name                        string          honoured
home                        string          honoured
shell                       string          honoured
groups                      []string        honoured

# SystemdEnvVar
name                        string          honoured
value                       string          honoured
fieldPath                   string          emulated  from a small file on each host
configMapKeyRef             KeyRef          honoured
secretKeyRef                KeyRef          honoured
"""

_INVENTORY = """
# Inventory
defaults                    HostDefaults    honoured
hosts                       map[Host]       honoured

# HostDefaults
ssh                         HostSsh         honoured
labels                      map[string]     honoured

# Host < HostDefaults
address                     string          honoured
taints                      []any           honoured

# HostSsh
user                        string          honoured
port                        int             honoured
identityFile                string          honoured
knownHostsFile              string          honoured
jump                        string          honoured

# Taint
key                         string          honoured
value                       string          honoured
effect                      string          honoured
timeAdded                   any             ignored   - a taint holds until it is taken away
"""

_POD = """
# PodSpec
containers                    []Container     honoured
volumes                       []Volume        honoured
nodeName                      string          honoured
nodeSelector                  map[string]     honoured
affinity                      Affinity        honoured
tolerations                   []Toleration    honoured
terminationGracePeriodSeconds int             honoured
hostNetwork                   bool            honoured
hostPID                       bool            honoured
restartPolicy                 string          emulated  by systemd
initContainers                []Container     emulated  units that run to their end, in order; the host tries again what fails
ephemeralContainers           any             refused   a DaemonSet cannot have them
activeDeadlineSeconds         int             refused   an agent has no end
hostIPC                       bool            honoured
hostUsers                     bool            refused   [true]   user namespaces are not made here
shareProcessNamespace         bool            honoured
securityContext               PodSecurityContext honoured
imagePullSecrets              []NameRef       honoured
hostname                      string          honoured
hostnameOverride              string          refused   use hostname
subdomain                     string          ignored  there is no cluster DNS
setHostnameAsFQDN             bool            ignored  there is no cluster DNS
hostAliases                   []HostAlias     honoured
dnsPolicy                     string          emulated  there is no cluster DNS: the host's resolver is used
dnsConfig                     DNSConfig       honoured
readinessGates                []any           refused   nobody here sets such conditions
runtimeClassName              string          refused  there is one runtime on a host: leave it out, or choose the engine by the label fleetd/runtime
overhead                      any             ignored  nothing is scheduled by resources
resources                     any             refused   set them on the container
resourceClaims                []any           refused   devices are not handed out: use privileged: true, or a hostPath
schedulingGates               []any           refused   nobody here would open them
serviceAccountName            string          emulated  told where a fieldRef asks: there is no API server to have an account with
serviceAccount                string          ignored   there is no API server to have an account with
automountServiceAccountToken  bool            ignored   there is no API server to have a token for
enableServiceLinks            bool            ignored   - there are no Services
schedulerName                 string          ignored   ["default-scheduler"] there is no scheduler
priorityClassName             string          emulated  of system-node-critical and system-cluster-critical: CPU weight and OOM score; nothing is ever preempted
priority                      int             ignored   nothing is ever preempted
preemptionPolicy              string          ignored   nothing is ever preempted
topologySpreadConstraints     []any           ignored   there is one copy on every eligible node
workloadRef                   any             ignored   there is no scheduler
os                            any             ignored   [{"name":"linux"}] - all hosts run Linux

# Affinity
nodeAffinity                  NodeAffinity    honoured
podAffinity                   PodAffinity     ignored   only required terms would matter
podAntiAffinity               PodAffinity     ignored   only required terms would matter

# PodAffinity
requiredDuringSchedulingIgnoredDuringExecution   []any  refused   what else runs on a node is not looked at
preferredDuringSchedulingIgnoredDuringExecution  []any  ignored  a preference does not matter to a DaemonSet

# NodeAffinity
requiredDuringSchedulingIgnoredDuringExecution   NodeSelector  honoured
preferredDuringSchedulingIgnoredDuringExecution  []any  ignored  a preference does not matter to a DaemonSet

# NodeSelector
nodeSelectorTerms             []NodeSelectorTerm  honoured

# NodeSelectorTerm
matchExpressions              []NodeSelectorRequirement  honoured
matchFields                   []NodeSelectorRequirement  honoured

# NodeSelectorRequirement
key                           string          honoured
operator                      string          honoured
values                        []string        honoured

# Toleration
key                           string          honoured
operator                      string          honoured
value                         string          honoured
effect                        string          honoured
tolerationSeconds             int             emulated  tolerated without an end: an evicted agent would come back at once

# PodSecurityContext
runAsUser                     int             honoured
runAsGroup                    int             honoured
runAsNonRoot                  bool            honoured
supplementalGroups            []int           honoured
supplementalGroupsPolicy      string          refused   ["Merge"]   the groups of the image are always added
fsGroup                       int             honoured
fsGroupChangePolicy           string          ignored  - only volumes of the copy get the group, each time
sysctls                       []Sysctl        honoured
seLinuxOptions                SELinuxOptions  honoured
seLinuxChangePolicy           string          refused   paths of the host keep their labels
seccompProfile                Profile         honoured
appArmorProfile               Profile         honoured
windowsOptions                any             refused   all hosts run Linux
"""

_CONTAINER = """
# Container
name                          string          honoured
image                         string          honoured
command                       []string        honoured
args                          []string        honoured
env                           []EnvVar        honoured
ports                         []ContainerPort honoured
resources                     ResourceRequirements  honoured
volumeMounts                  []VolumeMount   honoured
securityContext               SecurityContext honoured
readinessProbe                Probe           emulated  probed on the host
workingDir                    string          honoured  podman makes no directory that the image lacks
envFrom                       []EnvFromSource honoured
livenessProbe                 Probe           emulated  probed on the host
startupProbe                  Probe           emulated  probed on the host
lifecycle                     Lifecycle       emulated  run by the unit
volumeDevices                 []any           refused   use privileged: true, or a hostPath of type BlockDevice
imagePullPolicy               string          emulated  pulled once for each revision, and pinned
terminationMessagePath        string          ignored   - messages are in the journal
terminationMessagePolicy      string          ignored   - messages are in the journal
restartPolicy                 string          honoured  only of an init container, which Always makes a sidecar
restartPolicyRules            []any           refused   a unit is restarted whatever its exit status was
resizePolicy                  []any           ignored   a change of resources restarts the copy
stdin                         bool            honoured
stdinOnce                     bool            ignored  - nobody attaches to a copy
tty                           bool            honoured

# EnvVar
name                          string          honoured
value                         string          honoured
valueFrom                     EnvVarSource    honoured

# EnvVarSource
fieldRef                      FieldRef        emulated  from a small file on each host
configMapKeyRef               KeyRef          honoured
secretKeyRef                  KeyRef          honoured
resourceFieldRef              ResourceFieldRef emulated  a limit that is not set is the host's capacity
fileKeyRef                    any             refused   mount the file, and let the program read it
# EnvFromSource
prefix                        string          honoured
configMapRef                  ObjectRef       honoured
secretRef                     ObjectRef       honoured

# FieldRef
fieldPath                     string          honoured
apiVersion                    string          honoured

# KeyRef
name                          string          honoured
key                           string          honoured
optional                      bool            honoured

# ContainerPort
name                          string          honoured
containerPort                 int             honoured
hostPort                      int             honoured
hostIP                        string          honoured
protocol                      string          honoured

# ResourceRequirements
limits                        map[quantity]   honoured
requests                      map[quantity]   honoured
claims                        []any           refused   devices are not handed out: use privileged: true, or a hostPath
# SecurityContext
privileged                    bool            honoured
capabilities                  Capabilities    honoured
allowPrivilegeEscalation      bool            honoured
readOnlyRootFilesystem        bool            honoured
runAsUser                     int             honoured
runAsGroup                    int             honoured
runAsNonRoot                  bool            honoured
procMount                     string          honoured
seLinuxOptions                SELinuxOptions  honoured
seccompProfile                Profile         honoured  without one the engine's own filter; Localhost is below /var/lib/kubelet/seccomp
appArmorProfile               Profile         honoured
windowsOptions                any             refused   all hosts run Linux

# Capabilities
add                           []string        honoured
drop                          []string        honoured

# Probe
exec                          ExecAction      honoured
httpGet                       HTTPGetAction   honoured
tcpSocket                     TCPSocketAction honoured
grpc                          GRPCAction      emulated  by curl, which must speak HTTP/2
initialDelaySeconds           int             honoured
timeoutSeconds                int             honoured
periodSeconds                 int             honoured
successThreshold              int             honoured
failureThreshold              int             honoured
terminationGracePeriodSeconds int             honoured  of a livenessProbe or startupProbe

# ExecAction
command                       []string        honoured

# HTTPGetAction
path                          string          honoured
port                          intOrString     honoured
host                          string          honoured
scheme                        string          honoured
httpHeaders                   []HTTPHeader    honoured

# HTTPHeader
name                          string          honoured
value                         string          honoured

# TCPSocketAction
port                          intOrString     honoured
host                          string          honoured

# Lifecycle
postStart                     LifecycleHandler honoured
preStop                       LifecycleHandler honoured
stopSignal                    string          honoured

# LifecycleHandler
exec                          ExecAction      honoured
httpGet                       HTTPGetAction   honoured
tcpSocket                     TCPSocketAction honoured
sleep                         SleepAction     honoured

# ObjectRef
name                          string          honoured
optional                      bool            honoured

# NameRef
name                          string          honoured

# HostAlias
ip                            string          honoured
hostnames                     []string        honoured

# DNSConfig
nameservers                   []string        honoured
searches                      []string        honoured
options                       []DNSOption     honoured

# DNSOption
name                          string          honoured
value                         string          honoured

# ResourceFieldRef
resource                      string          honoured
containerName                 string          honoured
divisor                       quantity        honoured

# Sysctl
name                          string          honoured
value                         string          honoured

# SELinuxOptions
user                          string          honoured
role                          string          honoured
type                          string          honoured
level                         string          honoured

# Profile
type                          string          honoured
localhostProfile              string          honoured

# GRPCAction
port                          int             honoured
service                       string          honoured

# SleepAction
seconds                       int             honoured
"""

_VOLUMES = """
# VolumeMount
name                          string          honoured
mountPath                     string          honoured
subPath                       string          honoured
readOnly                      bool            honoured
recursiveReadOnly             string          ignored  ["Disabled","IfPossible"] what is mounted below a read-only mount stays writable
mountPropagation              string          honoured
subPathExpr                   string          honoured

# Volume
name                          string          honoured
hostPath                      HostPathVolume  honoured
configMap                     ConfigMapVolume emulated  files of the copy: a change restarts it
secret                        SecretVolume    emulated  files of the copy: a change restarts it
emptyDir                      EmptyDirVolume  honoured
projected                     ProjectedVolume emulated  files of the copy: a change restarts it
downwardAPI                   DownwardVolume  emulated  written at each start
image                         any             refused   put it into the image of the container, or use hostPath
persistentVolumeClaim         any             refused   use hostPath: nobody here provisions storage
ephemeral                     any             refused   use hostPath: nobody here provisions storage
csi                           any             refused   use hostPath: nobody here provisions storage
nfs                           any             refused   mount it on the host, and use hostPath
iscsi                         any             refused   mount it on the host, and use hostPath
fc                            any             refused   mount it on the host, and use hostPath
cephfs                        any             refused   mount it on the host, and use hostPath
rbd                           any             refused   mount it on the host, and use hostPath
glusterfs                     any             refused   mount it on the host, and use hostPath
flexVolume                    any             refused   use hostPath: nobody here provisions storage
flocker                       any             refused   use hostPath: nobody here provisions storage
gitRepo                       any             refused   fetch it in an init container
gcePersistentDisk             any             refused   use hostPath: nobody here provisions storage
awsElasticBlockStore          any             refused   use hostPath: nobody here provisions storage
azureDisk                     any             refused   use hostPath: nobody here provisions storage
azureFile                     any             refused   use hostPath: nobody here provisions storage
cinder                        any             refused   use hostPath: nobody here provisions storage
photonPersistentDisk          any             refused   use hostPath: nobody here provisions storage
portworxVolume                any             refused   use hostPath: nobody here provisions storage
quobyte                       any             refused   use hostPath: nobody here provisions storage
scaleIO                       any             refused   use hostPath: nobody here provisions storage
storageos                     any             refused   use hostPath: nobody here provisions storage
vsphereVolume                 any             refused   use hostPath: nobody here provisions storage

# HostPathVolume
path                          string          honoured
type                          string          honoured

# ConfigMapVolume
name                          string          honoured
items                         []KeyToPath     honoured
defaultMode                   int             honoured
optional                      bool            honoured

# SecretVolume
secretName                    string          honoured
items                         []KeyToPath     honoured
defaultMode                   int             honoured
optional                      bool            honoured

# KeyToPath
key                           string          honoured
path                          string          honoured
mode                          int             honoured

# EmptyDirVolume
medium                        string          honoured
sizeLimit                     quantity        emulated  the size of a tmpfs; a directory on disk is not limited

# DownwardVolume
items                         []DownwardFile  honoured
defaultMode                   int             honoured

# DownwardFile
path                          string          honoured
fieldRef                      FieldRef        honoured
resourceFieldRef              ResourceFieldRef  honoured
mode                          int             honoured

# ProjectedVolume
sources                       []Projection    honoured
defaultMode                   int             honoured

# Projection
configMap                     ProjectedObject honoured
secret                        ProjectedObject honoured
downwardAPI                   ProjectedDownward  honoured
serviceAccountToken           any             ignored   there is no API server to have a token for: the file will be missing
clusterTrustBundle            any             ignored   there is no API server to have a bundle from: the file will be missing
podCertificate                any             refused   there is no API server to sign it

# ProjectedObject
name                          string          honoured
items                         []KeyToPath     honoured
optional                      bool            honoured

# ProjectedDownward
items                         []DownwardFile  honoured
"""

TABLE = _OBJECTS + _SYSTEMD + _INVENTORY + _POD + _CONTAINER + _VOLUMES
