{{/* The pod of a role. Called with a dict of `root`, `role` and `resources`. */}}
{{- define "saf.pod" -}}
{{- $root := .root -}}
{{- $v := $root.Values -}}
{{- $embedded := eq $v.broker.kind "embedded" -}}
{{- $ingest := ne .role "consumer" -}}
metadata:
  labels:
    {{- include "saf.labels" . | nindent 4 }}
    {{- with $v.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A changed router.toml is read by new pods.
    checksum/config: {{ $v.config | sha256sum }}
    {{- with $v.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "saf.name" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $v.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  terminationGracePeriodSeconds: {{ add $v.drain.preStopSeconds $v.drain.graceSeconds 15 }}
  containers:
    - name: router
      image: {{ include "saf.image" $root }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args: [run, --role, {{ .role }}]
      env:
        - name: SAF_CONFIG
          value: /etc/saf/router.toml
        - name: SAF__HTTP__LISTEN
          value: "0.0.0.0:1378"
        {{- if $v.ingest.tokens.existingSecret }}
        {{- $tokens := list }}
        {{- range $v.ingest.tokens.keys }}
        {{- $tokens = append $tokens (printf "{ file = %q }" (printf "/etc/saf/ingest/%s" .)) }}
        {{- end }}
        - name: SAF__HTTP__TOKENS
          value: {{ printf "[%s]" (join ", " $tokens) | quote }}
        {{- else }}
        - name: SAF__HTTP__ALLOW_ANONYMOUS
          value: "true"
        {{- end }}
        - name: SAF__ADMIN__LISTEN
          value: "0.0.0.0:1379"
        - name: SAF__ADMIN__TOKEN
          value: '{ file = "/etc/saf/admin/token" }'
        - name: SAF__BROKER__KIND
          value: {{ $v.broker.kind }}
        {{- if $embedded }}
        - name: SAF__BROKER__PATH
          value: /var/lib/saf/store
        {{- else }}
        - name: SAF__BROKER__URL
          value: {{ $v.broker.url | quote }}
        {{- if $v.broker.credentials.existingSecret }}
        - name: SAF__BROKER__CREDS
          value: /etc/saf/nats/{{ $v.broker.credentials.key }}
        {{- end }}
        {{- if $v.broker.token.existingSecret }}
        - name: SAF__BROKER__TOKEN
          value: '{ env = "SAF_NATS_TOKEN" }'
        - name: SAF_NATS_TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ $v.broker.token.existingSecret }}
              key: {{ $v.broker.token.key }}
        {{- end }}
        {{- if $v.broker.tls.existingSecret }}
        - name: SAF__BROKER__TLS__REQUIRED
          value: "true"
        {{- range $part := tuple "ca" "cert" "key" }}
        {{- with index $v.broker.tls $part }}
        - name: SAF__BROKER__TLS__{{ upper $part }}
          value: /etc/saf/nats-tls/{{ . }}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- end }}
        - name: SAF__HOST__CACHE
          value: /var/lib/saf/cache
        - name: SAF__HOST__CACHE_MAX
          value: {{ $v.cacheSize | trimSuffix "i" }}iB
        - name: SAF__SHUTDOWN__GRACE
          value: {{ $v.drain.graceSeconds }}s
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- if $ingest }}
        - name: http
          containerPort: 1378
        {{- end }}
        - name: admin
          containerPort: 1379
      # Components may have to be compiled first, and NATS may come up later.
      startupProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 150
      livenessProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # The listener that serves is asked: a producer that takes no events in is not ready, whatever its admin listener says.
      readinessProbe:
        httpGet: { path: /readyz, port: {{ ternary "http" "admin" $ingest }} }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- with $v.drain.preStopSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ . }}
      {{- end }}
      resources:
        {{- toYaml (mergeOverwrite (deepCopy $v.resources) .resources) | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: config
          mountPath: /etc/saf/router.toml
          subPath: router.toml
          readOnly: true
        - name: admin-token
          mountPath: /etc/saf/admin
          readOnly: true
        - name: data
          mountPath: /var/lib/saf
        {{- if $v.ingest.tokens.existingSecret }}
        - name: ingest-tokens
          mountPath: /etc/saf/ingest
          readOnly: true
        {{- end }}
        {{- if $v.broker.credentials.existingSecret }}
        - name: nats-credentials
          mountPath: /etc/saf/nats
          readOnly: true
        {{- end }}
        {{- if $v.broker.tls.existingSecret }}
        - name: nats-tls
          mountPath: /etc/saf/nats-tls
          readOnly: true
        {{- end }}
        {{- range $v.components }}
        - name: components-{{ .name }}
          mountPath: /components/{{ .name }}
          readOnly: true
        {{- end }}
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "saf.name" $root }}
    - name: admin-token
      secret:
        secretName: {{ include "saf.adminSecret" $root }}
        items:
          - key: {{ include "saf.adminKey" $root }}
            path: token
    {{- if not $embedded }}
    - name: data
      emptyDir: {}
    {{- end }}
    {{- with $v.ingest.tokens.existingSecret }}
    - name: ingest-tokens
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- with $v.broker.credentials.existingSecret }}
    - name: nats-credentials
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- with $v.broker.tls.existingSecret }}
    - name: nats-tls
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- range $v.components }}
    - name: components-{{ .name }}
      {{- if .configMap }}
      configMap:
        name: {{ .configMap }}
      {{- else if .claim }}
      persistentVolumeClaim:
        claimName: {{ .claim }}
        readOnly: true
      {{- else }}
      image:
        reference: {{ .image }}
        pullPolicy: {{ $v.image.pullPolicy }}
      {{- end }}
    {{- end }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  topologySpreadConstraints:
    {{- if $v.topologySpreadConstraints }}
    {{- toYaml $v.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range tuple "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "saf.selector" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
