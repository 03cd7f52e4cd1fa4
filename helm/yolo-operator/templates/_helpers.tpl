{{- define "yolo-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "yolo-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "yolo-operator.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "yolo-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "yolo-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "yolo-operator.labels" -}}
{{ include "yolo-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The limits as the operator reads them; empty without any. */}}
{{- define "yolo-operator.limits" -}}
{{- with .Values.limits }}
{{- if or .cluster .default .namespaces }}
{{- toPrettyJson . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not the selector's: the Service and the NetworkPolicy must not take the test's pod for an operator. */}}
{{- define "yolo-operator.testLabels" -}}
app.kubernetes.io/name: {{ include "yolo-operator.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "yolo-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "yolo-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the account, or set serviceAccount.create" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "yolo-operator.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Whether a leader is elected: "true" or nothing. */}}
{{- define "yolo-operator.elects" -}}
{{- if or .Values.leaderElection.enabled (gt (int .Values.replicas) 1) }}true{{ end }}
{{- end }}

{{/* All that the operator may do. Secrets are not among it: the kubelet hands the toolkit's key to the stage's pod. */}}
{{- define "yolo-operator.rules" -}}
# Reads what people ask for. The operator never writes the resource itself.
- apiGroups: [yolo-operator.dev]
  resources: [yoloexperiments]
  verbs: [get, list, watch]
# Says what it knows: one merge-patch a change.
- apiGroups: [yolo-operator.dev]
  resources: [yoloexperiments/status]
  verbs: [patch]
# A stage is a Job. Patch: a finished Job gets the label that takes it out of the watch, and its time to live; delete: suspend, retries.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# A stage's report is its pod's termination message; why a pod does not start is in its status.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# Live progress: the tail of a running stage's log.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# The runner: one immutable ConfigMap a namespace and operator version, removed when nothing uses it.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, delete]
# A workspace from a volumeClaimTemplate. Removal is left to owner references.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, create]
# Events on experiments; patch: the count of one that repeats; list: why a Job has no pod (a ResourceQuota) is told by its Events alone.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create, patch]
{{- if .Values.rbac.kueue }}
# Only with rbac.kueue. Why Kueue holds a stage's Job: the conditions of its Workload.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end }}
{{- if .Values.rbac.dra }}
# Only with rbac.dra. GPUs by resource claim: the template that a stage's pod refers to. Removal is left to owner references.
- apiGroups: [resource.k8s.io]
  resources: [resourceclaimtemplates]
  verbs: [create]
{{- end }}
{{- end }}

{{/* With leader election, besides, in the operator's own namespace. */}}
{{- define "yolo-operator.leaseRules" -}}
# The Lease that tells who leads. A right to create cannot be bound to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
# Taking, renewing and releasing it.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "yolo-operator.fullname" . }}]
  verbs: [get, patch]
{{- end }}
