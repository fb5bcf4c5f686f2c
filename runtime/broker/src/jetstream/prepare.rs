//! Making ready: streams, their dead letters, consumers and the bucket of switches, created or brought to what the
//! configuration says. A configuration is changed field by field on top of the server's own, so whatever else is
//! set there stays. What may not be changed is reported, never forced: a consumer is never made anew, since that would hand out
//! settled events again.

use std::time::UNIX_EPOCH;

use saf_event::Subject;
use serde_json::{Map, Value, json};

use super::api::{Failure, StreamInfo};
use super::names::{HISTORY_STREAM, Route, SWITCH_BUCKET, SWITCH_STREAM};
use super::{Core, JetStream, state};
use crate::{
    ChannelPlan, Discard, Error, HistoryConfig, Note, Order, Plan, Start, StatePlan, Storage, StreamConfig,
    StreamPlan,
};

/// Server 2.12: atomic batches and scheduled messages.
const API_LEVEL: u32 = 2;
/// "consumer deliver policy can not be updated" and its kin.
const NOT_UPDATABLE: u32 = 10012;

impl JetStream {
    pub(super) async fn make_ready(&self, plan: &Plan) -> Result<Vec<Note>, Error> {
        let core = &self.core;
        let level = core.api.level().await.map_err(|failure| match failure {
            Failure::Server(error) => {
                Error::Config(format!("NATS has no JetStream for this account: {error}"))
            }
            Failure::Unavailable(_) if core.publishing.is_up() && !core.publishing.client.server_info().jetstream => {
                Error::Config(
                    "the NATS server has no JetStream: start it with -js, or with a jetstream block in its configuration".into(),
                )
            }
            Failure::Unavailable(reason) => Error::Unavailable(reason),
        })?;
        if level < API_LEVEL {
            return Err(Error::Config(
                "the NATS server is older than 2.12, which has no atomic batches: update the server".into(),
            ));
        }
        check(plan)?;
        let mut notes = Vec::new();
        for stream in &plan.streams {
            let route = Route::new(&stream.name, &stream.config);
            if stream.config.manage {
                core.make_stream(&route, &stream.config, &mut notes).await?;
            } else {
                core.take_stream(&route, &mut notes).await?;
            }
            let dead = dead_letters(&route, &stream.config);
            core.reconcile(&route.dead_stream(), dead, &mut notes).await?;
            core.add_route(route);
        }
        let replicas = plan.streams.iter().map(|stream| stream.config.replicas).max().unwrap_or(1);
        core.reconcile(SWITCH_STREAM, switches(replicas), &mut notes).await?;
        if plan.history.enabled {
            core.reconcile(HISTORY_STREAM, history(&plan.history, replicas), &mut notes).await?;
        }
        core.scribe.configure(&plan.history);
        for channel in &plan.channels {
            core.make_consumer(channel, &mut notes).await?;
            let stream = plan.streams.iter().find(|stream| stream.name == channel.stream);
            if let (Some(state), Some(stream)) = (channel.state, stream) {
                let wanted = bucket(channel, state, &stream.config);
                core.reconcile(&state::stream_of(&channel.channel), wanted, &mut notes).await?;
            }
        }
        core.note_replicas(plan);
        core.read_switches(0).await.map_err(|failure| failure.about("the switches"))?;
        Ok(notes)
    }
}

/// What cannot work whatever the server says.
fn check(plan: &Plan) -> Result<(), Error> {
    for StreamPlan { name, config } in &plan.streams {
        if config.manage && config.prefix.as_deref() == Some("") {
            return Err(Error::Config(format!(
                "streams.{name}.prefix = \"\" would make the stream take every subject of the account: give it a prefix, or set \
                 streams.{name}.manage = false for a stream that others own"
            )));
        }
        if let Some(prefix) = config.prefix.as_deref().filter(|prefix| !prefix.is_empty())
            && (Subject::parse(prefix).is_err() || prefix.starts_with('_'))
        {
            return Err(Error::Config(format!(
                "streams.{name}.prefix = {prefix:?} cannot stand before subjects: write tokens joined by dots, such as \"events\", not \
                 beginning with _ or $"
            )));
        }
        if name.as_str() == HISTORY_STREAM {
            return Err(Error::Config(format!(
                "stream {name} has the name of the stream of what became of deliveries: choose another"
            )));
        }
        let clash = name.as_str().strip_suffix("-dead");
        if let Some(other) = clash.filter(|other| plan.streams.iter().any(|s| s.name.as_str() == *other)) {
            return Err(Error::Config(format!(
                "stream {name} has the name of the dead letters of stream {other}: choose another"
            )));
        }
    }
    Ok(())
}

impl Core {
    async fn make_stream(
        &self,
        route: &Route,
        config: &StreamConfig,
        notes: &mut Vec<Note>,
    ) -> Result<(), Error> {
        self.reconcile(route.stream.as_str(), own_stream(route, config), notes).await
    }

    /// A stream that others own is used as it is.
    async fn take_stream(&self, route: &Route, notes: &mut Vec<Note>) -> Result<(), Error> {
        let stream = &route.stream;
        let info = self.api.stream(stream.as_str()).await.map_err(|failure| failure.about("a stream"))?;
        let Some(StreamInfo { config, .. }) = info else {
            return Err(Error::Config(format!(
                "stream {stream} does not exist: create it on the server, or set streams.{stream}.manage = true"
            )));
        };
        if config.get("allow_atomic") != Some(&Value::Bool(true)) {
            notes.push(Note::Differs(format!(
                "stream {stream} has no allow_atomic: a Channel that emits several events at once cannot be settled; set it on the server"
            )));
        }
        Ok(())
    }

    /// Creates a stream, or changes what differs.
    async fn reconcile(
        &self,
        name: &str,
        wanted: Map<String, Value>,
        notes: &mut Vec<Note>,
    ) -> Result<(), Error> {
        let what = format!("stream {name}");
        let about = |failure: Failure| failure.about(&what);
        let Some(StreamInfo { config: current, .. }) = self.api.stream(name).await.map_err(about)? else {
            let created = self.api.call::<Value>(&format!("STREAM.CREATE.{name}"), &wanted).await;
            created.map_err(about)?;
            notes.push(Note::Done(format!("created {what}")));
            return Ok(());
        };
        let mut config = current.clone();
        let mut changed = Vec::new();
        let wanted = keep_schedules(&what, &current, wanted, notes);
        for (key, value) in wanted {
            let value = if key == "subjects" { union(current.get(&key), value) } else { value };
            if same(current.get(&key), &value) {
                continue;
            }
            if key == "storage" || key == "retention" {
                let now = current.get(&key).cloned().unwrap_or_default();
                notes.push(Note::Differs(format!(
                    "{what} has {key} {now} instead of {value}, which cannot be changed: back it up, delete it and start again"
                )));
                continue;
            }
            changed.push(format!("{key} = {value}"));
            config.insert(key, value);
        }
        if changed.is_empty() {
            return Ok(());
        }
        let updated = self.api.call::<Value>(&format!("STREAM.UPDATE.{name}"), &config).await;
        updated.map_err(about)?;
        notes.push(Note::Done(format!("changed {what}: {}", changed.join(", "))));
        Ok(())
    }

    async fn make_consumer(&self, plan: &ChannelPlan, notes: &mut Vec<Note>) -> Result<(), Error> {
        let missing = || {
            Error::Config(format!(
                "channel {} reads stream {}, which is not configured",
                plan.channel, plan.stream
            ))
        };
        let route = self.route(&plan.stream).ok_or_else(missing)?;
        let (stream, channel) = (plan.stream.as_str(), plan.channel.as_str());
        let what = format!("consumer {channel} on stream {stream}");
        let about = |failure: Failure| failure.about(&what);
        if plan.retain {
            notes.push(Note::Differs(format!(
                "channels.{channel}.retain = true does nothing on JetStream, which cannot hold events back for one consumer: the limits of \
                 stream {stream} remove its oldest events whether {channel} has settled them or not (discard = \"old\"), or refuse new \
                 ones while it is full, of settled events too (discard = \"new\", which does not help against max_age); what was \
                 removed unsettled is counted and degrades /readyz. Make the stream's limits large enough, and leave retain away"
            )));
        }
        let wanted = consumer(&route, plan);
        let path = format!("CONSUMER.CREATE.{stream}.{channel}");
        let Some(info) = self.api.consumer(stream, channel).await.map_err(about)? else {
            let mut config = wanted;
            config.extend(start(plan.start));
            let request = json!({ "stream_name": stream, "action": "create", "config": config });
            self.api.call::<Value>(&path, &request).await.map_err(about)?;
            notes.push(Note::Done(format!("created {what}")));
            return Ok(());
        };
        let current = info.config;
        notes.extend(start_differs(&current, plan));
        let mut config = current.clone();
        let mut changed = Vec::new();
        for (key, value) in wanted {
            if !same(current.get(&key), &value) {
                changed.push(format!("{key} = {value}"));
                config.insert(key, value);
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let subjects = changed.iter().any(|change| change.starts_with("filter_subjects"));
        // One filter of an older version stands in a field of its own, and both may not be set.
        config.remove("filter_subject");
        let request = json!({ "stream_name": stream, "action": "update", "config": config });
        match self.api.call::<Value>(&path, &request).await {
            Ok(_) => {}
            Err(Failure::Server(error)) if error.err_code == NOT_UPDATABLE => {
                notes.push(Note::Differs(format!(
                    "{what} cannot be changed ({}): {error}",
                    changed.join(", ")
                )));
                return Ok(());
            }
            Err(failure) => return Err(about(failure)),
        }
        notes.push(Note::Done(format!("changed {what}: {}", changed.join(", "))));
        if subjects {
            notes.push(Note::Differs(format!(
                "channel {channel} subscribes to other subjects from here on; events of new subjects that it has passed are not handed out"
            )));
        }
        Ok(())
    }
}

/// The server lets no stream with schedules stop having them or discard new messages: that one stays as it is.
fn keep_schedules(
    what: &str,
    current: &Map<String, Value>,
    mut wanted: Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Map<String, Value> {
    const SCHEDULES: &str = "allow_msg_schedules";
    let (has, wants) = (current.get(SCHEDULES), wanted.get(SCHEDULES));
    if has == Some(&Value::Bool(true)) && wants == Some(&Value::Bool(false)) {
        wanted.remove(SCHEDULES);
        wanted.remove("discard");
        notes.push(Note::Differs(format!(
            "{what} keeps discard = old: it may hold retries that are not due yet, and the server allows no such stream to \
             discard new messages; create it anew, under another name, to have discard = new"
        )));
    }
    wanted
}

/// Whether the server's value is the wanted one; it leaves out what is false, empty or zero.
fn same(current: Option<&Value>, wanted: &Value) -> bool {
    match current {
        Some(current) => current == wanted,
        None => matches!(wanted, Value::Bool(false) | Value::Null) || wanted.as_i64() == Some(0),
    }
}

/// The stream's subjects with ours added: others may have added theirs.
fn union(current: Option<&Value>, wanted: Value) -> Value {
    let Some(Value::Array(current)) = current else { return wanted };
    let Value::Array(wanted) = wanted else { return Value::Array(current.clone()) };
    let added = wanted.into_iter().filter(|subject| !current.contains(subject));
    Value::Array(current.iter().cloned().chain(added).collect())
}

fn limit<T: TryInto<i64>>(value: Option<T>) -> i64 {
    value.map_or(-1, |value| value.try_into().unwrap_or(i64::MAX))
}

/// The largest that JetStream takes as "no limit" is -1; 0 means the same for a person.
fn bytes(size: saf_event::Size) -> i64 {
    limit((size.0 > 0).then_some(size.0))
}

fn nanos(span: saf_event::Span) -> u64 {
    u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX)
}

fn storage(config: &StreamConfig) -> &'static str {
    match config.storage {
        Storage::File => "file",
        Storage::Memory => "memory",
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn own_stream(route: &Route, config: &StreamConfig) -> Map<String, Value> {
    object(json!({
        "name": route.stream.as_str(),
        "subjects": route.subjects(),
        "retention": "limits",
        "storage": storage(config),
        "num_replicas": config.replicas,
        "max_age": nanos(config.max_age),
        "max_bytes": bytes(config.max_bytes),
        "max_msgs": limit(config.max_messages),
        "duplicate_window": nanos(config.duplicate_window),
        "discard": match config.discard { Discard::Old => "old", Discard::New => "new" },
        "allow_direct": true,
        "allow_atomic": true,
        "allow_msg_schedules": route.schedules,
    }))
}

fn dead_letters(route: &Route, config: &StreamConfig) -> Map<String, Value> {
    object(json!({
        "name": route.dead_stream(),
        "subjects": [route.dead(None)],
        "retention": "limits",
        "storage": storage(config),
        "num_replicas": config.replicas,
        "max_age": nanos(config.dead_letter_max_age),
        "max_bytes": -1,
        "max_msgs": -1,
        "duplicate_window": nanos(config.duplicate_window).min(nanos(config.dead_letter_max_age)),
        "discard": "old",
        "allow_direct": true,
    }))
}

/// As `nats kv add saf-switches` would make it, so that people can look with their own tools.
fn switches(replicas: usize) -> Map<String, Value> {
    object(json!({
        "name": SWITCH_STREAM,
        "subjects": [format!("$KV.{SWITCH_BUCKET}.>")],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "max_bytes": -1,
        "max_msgs": -1,
        "discard": "new",
        "deny_delete": true,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
    }))
}

/// What became of deliveries, packed.
fn history(config: &HistoryConfig, replicas: usize) -> Map<String, Value> {
    /// Of a record, reasons included, about.
    const RECORD_BYTES: u64 = 96;
    object(json!({
        "name": HISTORY_STREAM,
        "subjects": [format!("{HISTORY_STREAM}.>")],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_age": nanos(config.max_age),
        "max_bytes": limit(Some(config.max_records.saturating_mul(RECORD_BYTES))),
        "max_msgs": -1,
        "discard": "old",
        "allow_direct": true,
    }))
}

/// A Channel's state. As `nats kv add` would make it, but for batches.
fn bucket(plan: &ChannelPlan, state: StatePlan, config: &StreamConfig) -> Map<String, Value> {
    /// A value keeps the one before it, in base64, and a few headers.
    const SHARE: u64 = 4;
    object(json!({
        "name": state::stream_of(&plan.channel),
        "subjects": [state::subjects_of(&plan.channel)],
        "retention": "limits",
        "storage": storage(config),
        "num_replicas": config.replicas,
        "max_msgs_per_subject": 1,
        "max_bytes": limit(Some(state.max_bytes.saturating_mul(SHARE))),
        "max_msgs": -1,
        "discard": "new",
        "deny_delete": true,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
        "allow_atomic": true,
    }))
}

fn consumer(route: &Route, plan: &ChannelPlan) -> Map<String, Value> {
    let max_ack_pending = match plan.order {
        Order::None => plan.max_ack_pending,
        // One at a time over every replica, kept by the server.
        Order::All => 1,
    };
    object(json!({
        "durable_name": plan.channel.as_str(),
        "name": plan.channel.as_str(),
        "filter_subjects": route.filters(&plan.channel, &plan.subjects),
        "ack_policy": "explicit",
        "ack_wait": u64::try_from(plan.ack_wait.as_nanos()).unwrap_or(u64::MAX),
        "max_ack_pending": max_ack_pending,
        // Attempts are counted by verdicts, not by deliveries.
        "max_deliver": -1,
        "replay_policy": "instant",
    }))
}

fn start(start: Start) -> Map<String, Value> {
    object(match start {
        Start::All => json!({ "deliver_policy": "all" }),
        Start::New => json!({ "deliver_policy": "new" }),
        Start::Sequence(sequence) => {
            json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": sequence.max(1) })
        }
        Start::Time(millis) => {
            let time = UNIX_EPOCH + std::time::Duration::from_millis(millis);
            json!({ "deliver_policy": "by_start_time", "opt_start_time": humantime::format_rfc3339_millis(time).to_string() })
        }
    })
}

fn start_differs(current: &Map<String, Value>, plan: &ChannelPlan) -> Option<Note> {
    let policy = current.get("deliver_policy").cloned().unwrap_or_default();
    let wanted = start(plan.start).remove("deliver_policy").unwrap_or_default();
    (policy != wanted).then(|| {
        Note::Differs(format!(
            "channel {} began with {policy}, not {wanted}: `start` is read only when a consumer is created; to begin anew, give the \
             Channel another name",
            plan.channel
        ))
    })
}
