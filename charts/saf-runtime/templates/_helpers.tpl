{{/* The name of every object of a release. */}}
{{- define "saf.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What selects the pods of a release; with a role, of one role. Called with a dict of `root` and, if wanted, `role`. */}}
{{- define "saf.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "saf.labels" -}}
{{ include "saf.selector" . }}
{{ include "saf.origin" . }}
{{- end }}

{{/* What selects the pod of `helm test`, and nothing else. */}}
{{- define "saf.testSelector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The pod of `helm test` as a peer of the router's. */}}
{{- define "saf.testPeer" -}}
- podSelector:
    matchLabels:
      {{- include "saf.testSelector" . | nindent 6 }}
{{- end }}

{{- define "saf.origin" -}}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "saf.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Secret with the admin token. */}}
{{- define "saf.adminSecret" -}}
{{- default (printf "%s-admin" (include "saf.name" .)) .Values.admin.token.existingSecret -}}
{{- end }}

{{/* The key of the admin token in its Secret: the chart's own Secret has one that does not depend on values. */}}
{{- define "saf.adminKey" -}}
{{- ternary .Values.admin.token.key "token" (ne .Values.admin.token.existingSecret "") -}}
{{- end }}

{{/* The roles that run, separated by spaces. */}}
{{- define "saf.roles" -}}
{{- ternary "producer consumer" "all" .Values.roles.split -}}
{{- end }}

{{/* The role whose pods run Channels. */}}
{{- define "saf.consumerRole" -}}
{{- ternary "consumer" "all" .Values.roles.split -}}
{{- end }}

{{/* The role whose pods take events. */}}
{{- define "saf.producerRole" -}}
{{- ternary "producer" "all" .Values.roles.split -}}
{{- end }}

{{/* The name of what runs a role: the release's own for all of it. */}}
{{- define "saf.workload" -}}
{{- include "saf.name" .root }}{{ ne .role "all" | ternary (printf "-%s" .role) "" }}
{{- end }}

{{/* What no schema can say. */}}
{{- define "saf.check" -}}
{{- $v := .Values -}}
{{- if and (eq $v.broker.kind "jetstream") (not $v.broker.url) -}}
{{- fail "broker.url is missing: name NATS' servers, such as --set broker.url=nats://nats.nats.svc:4222" -}}
{{- end -}}
{{- if and (eq $v.broker.kind "embedded") $v.roles.split -}}
{{- fail "roles.split needs a broker that pods share, and an embedded store has one process: set broker.kind=jetstream" -}}
{{- end -}}
{{- if and (eq $v.broker.kind "embedded") (or $v.autoscaling.hpa.enabled $v.autoscaling.keda.enabled) -}}
{{- fail "an embedded store has one process, so there is nothing to scale: set broker.kind=jetstream, or leave autoscaling off" -}}
{{- end -}}
{{- if and $v.autoscaling.hpa.enabled $v.autoscaling.keda.enabled (not $v.roles.split) -}}
{{- fail "autoscaling.hpa and autoscaling.keda would both scale the same pods: choose one, or set roles.split=true" -}}
{{- end -}}
{{- if and $v.autoscaling.keda.enabled (or (not $v.autoscaling.keda.channels) (not $v.autoscaling.keda.monitoringEndpoint)) -}}
{{- fail "autoscaling.keda needs channels, whose lag counts, and monitoringEndpoint, where NATS tells it" -}}
{{- end -}}
{{- $outside := or $v.ingress.enabled $v.gateway.enabled (ne $v.service.type "ClusterIP") -}}
{{- if and $outside (not $v.ingest.tokens.existingSecret) -}}
{{- fail "ingest would be open to everybody beyond the cluster: name a Secret with tokens in ingest.tokens.existingSecret" -}}
{{- end -}}
{{- if and (not $v.ingest.allowAnonymous) (not $v.ingest.tokens.existingSecret) -}}
{{- fail "nobody could post: name a Secret with tokens in ingest.tokens.existingSecret, or set ingest.allowAnonymous=true" -}}
{{- end -}}
{{- end }}
