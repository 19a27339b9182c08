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
maxSurge                    intOrString     honoured  beside maxUnavailable a permission that is not used yet

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
existingUnit                string          honoured
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
containers                    []Container     honoured  one container
volumes                       []Volume        honoured
nodeName                      string          honoured
nodeSelector                  map[string]     honoured
affinity                      Affinity        honoured
tolerations                   []Toleration    honoured
terminationGracePeriodSeconds int             honoured
hostNetwork                   bool            honoured
hostPID                       bool            honoured
restartPolicy                 string          emulated  by systemd
initContainers                []Container     refused
ephemeralContainers           any             refused   a DaemonSet cannot have them
activeDeadlineSeconds         int             refused   an agent has no end
hostIPC                       bool            refused   [false]
hostUsers                     bool            refused   [true]
shareProcessNamespace         bool            refused   [false]
securityContext               PodSecurityContext refused
imagePullSecrets              []any           refused   log the host's container engine in to the registry
hostname                      string          refused
hostnameOverride              string          refused
subdomain                     string          refused
setHostnameAsFQDN             bool            refused   [false]
hostAliases                   []any           refused
dnsPolicy                     string          ignored   ["Default","ClusterFirst","ClusterFirstWithHostNet"] there is no cluster DNS: the host's resolver is used
dnsConfig                     any             refused
readinessGates                []any           refused   nobody here sets such conditions
runtimeClassName              string          refused
overhead                      any             refused
resources                     any             refused   set them on the container
resourceClaims                []any           refused
schedulingGates               []any           refused
serviceAccountName            string          ignored   there is no API server to have an account with
serviceAccount                string          ignored   there is no API server to have an account with
automountServiceAccountToken  bool            ignored   there is no API server to have a token for
enableServiceLinks            bool            ignored   - there are no Services
schedulerName                 string          ignored   ["default-scheduler"] there is no scheduler
priorityClassName             string          ignored   nothing is ever preempted
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
requiredDuringSchedulingIgnoredDuringExecution   []any  refused
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
runAsUser                     int             refused
runAsGroup                    int             refused
runAsNonRoot                  bool            refused   [false]
supplementalGroups            []int           refused
supplementalGroupsPolicy      string          refused   ["Merge"]
fsGroup                       int             refused
fsGroupChangePolicy           string          refused   ["Always"]
sysctls                       []any           refused
seLinuxOptions                any             refused
seLinuxChangePolicy           string          refused
seccompProfile                any             refused
appArmorProfile               any             refused
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
workingDir                    string          refused
envFrom                       []EnvFromSource refused   name each variable under env
livenessProbe                 AnyProbe        refused
startupProbe                  AnyProbe        refused
lifecycle                     Lifecycle       refused
volumeDevices                 []any           refused
imagePullPolicy               string          ignored   ["IfNotPresent"] - pulled once for each revision, and pinned
terminationMessagePath        string          ignored   - messages are in the journal
terminationMessagePolicy      string          ignored   - messages are in the journal
restartPolicy                 string          refused   ["Always"]
restartPolicyRules            []any           refused
resizePolicy                  []any           ignored   a change of resources restarts the copy
stdin                         bool            refused   [false]
stdinOnce                     bool            refused   [false]
tty                           bool            refused   [false]

# EnvVar
name                          string          honoured
value                         string          honoured
valueFrom                     EnvVarSource    honoured

# EnvVarSource
fieldRef                      FieldRef        emulated  from a small file on each host
configMapKeyRef               KeyRef          honoured
secretKeyRef                  KeyRef          honoured
resourceFieldRef              any             refused
fileKeyRef                    any             refused

# EnvFromSource
prefix                        string          refused
configMapRef                  any             refused
secretRef                     any             refused

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
claims                        []any           refused

# SecurityContext
privileged                    bool            honoured
capabilities                  Capabilities    honoured
allowPrivilegeEscalation      bool            refused   [true]
readOnlyRootFilesystem        bool            refused   [false]
runAsUser                     int             refused
runAsGroup                    int             refused
runAsNonRoot                  bool            refused   [false]
procMount                     string          refused   ["Default"]
seLinuxOptions                any             refused
seccompProfile                any             refused
appArmorProfile               any             refused
windowsOptions                any             refused   all hosts run Linux

# Capabilities
add                           []string        honoured
drop                          []string        honoured

# Probe
exec                          ExecAction      honoured
httpGet                       HTTPGetAction   honoured
tcpSocket                     TCPSocketAction honoured
grpc                          any             refused
initialDelaySeconds           int             honoured
timeoutSeconds                int             honoured
periodSeconds                 int             honoured
successThreshold              int             honoured
failureThreshold              int             honoured
terminationGracePeriodSeconds int             refused   only a livenessProbe or startupProbe may have it

# AnyProbe < Probe

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
postStart                     LifecycleHandler  refused
preStop                       LifecycleHandler  refused
stopSignal                    string          refused   ["SIGTERM"]

# LifecycleHandler
exec                          any             refused
httpGet                       any             refused
tcpSocket                     any             refused
sleep                         any             refused
"""

_VOLUMES = """
# VolumeMount
name                          string          honoured
mountPath                     string          honoured
subPath                       string          honoured
readOnly                      bool            honoured
recursiveReadOnly             string          refused   ["Disabled"]
mountPropagation              string          refused   ["None"]
subPathExpr                   string          refused

# Volume
name                          string          honoured
hostPath                      HostPathVolume  honoured
configMap                     ConfigMapVolume emulated  files of the copy: a change restarts it
secret                        SecretVolume    emulated  files of the copy: a change restarts it
emptyDir                      EmptyDirVolume  honoured
projected                     any             refused
downwardAPI                   any             refused
image                         any             refused
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
gitRepo                       any             refused
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
medium                        string          refused
sizeLimit                     quantity        refused
"""

TABLE = _OBJECTS + _SYSTEMD + _INVENTORY + _POD + _CONTAINER + _VOLUMES
