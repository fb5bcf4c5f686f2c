//! Making streams and consumers ready: what the configuration says meets what is on disk.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use saf_event::ChannelName;

use super::consumer::{CONSUMERS, Consumer, Settings};
use super::stream::{Shared, Stream};
use super::{Embedded, allow_state};
use crate::{ChannelPlan, Error, HistoryConfig, Note, Plan, Start, StreamPlan};

/// In `state.log`, before a Channel's name: what its consumer was made from.
const DEFINITIONS: &str = "d/";

/// What a consumer was made from; kept to say what differs.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Definition {
    start: String,
    subjects: Vec<String>,
    /// The first sequence that it could get; unknown for consumers of older versions.
    #[serde(default)]
    began: Option<u64>,
}

impl Embedded {
    pub(super) fn make_ready(&self, plan: &Plan) -> Result<Vec<Note>, Error> {
        if let Some(over) = self.vitals.over() {
            return Err(over);
        }
        let mut notes = Vec::new();
        self.keep_history(&plan.history);
        for stream in &plan.streams {
            notes.extend(self.ready_stream(stream, &plan.history)?);
        }
        for channel in &plan.channels {
            notes.extend(self.ready_channel(channel)?);
        }
        for stream in self.streams() {
            notes.extend(retire_others(&stream, plan));
            // Consumers that were made are durable before anything is handed out.
            stream.sync()?;
            stream.roster.complete();
            stream.queue.nudge();
        }
        Ok(notes)
    }

    fn keep_history(&self, config: &HistoryConfig) {
        self.keeps_history.store(config.enabled, Ordering::Relaxed);
        for stream in self.streams() {
            stream.annals.configure(config);
        }
    }

    fn ready_stream(&self, plan: &StreamPlan, history: &HistoryConfig) -> Result<Option<Note>, Error> {
        let name = &plan.name;
        if let Ok(stream) = self.stream(name) {
            let changed = stream.configure(&plan.config);
            return Ok(changed.then(|| Note::Done(format!("stream {name}: limits changed"))));
        }
        let folder = self.root.join("streams").join(name.as_str());
        let is_new = !folder.exists();
        let workshop = self.workshop.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(workshop) = &*workshop else {
            return Err(Error::Unavailable("the store is closed".to_owned()));
        };
        let shared =
            Shared { disk: &self.disk, workshop, vitals: &self.vitals, tuning: self.tuning, history };
        let stream = Stream::open(name, &folder, &plan.config, &shared)?;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.insert(name.clone(), Arc::new(stream));
        Ok(is_new.then(|| Note::Done(format!("stream {name}: created in {}", folder.display()))))
    }

    fn ready_channel(&self, plan: &ChannelPlan) -> Result<Vec<Note>, Error> {
        let notes = self.ready_consumer(plan)?;
        if plan.state.is_some() {
            // First of all: an older version must not read frames that have state in them.
            allow_state(&self.root)?;
            self.stream(&plan.stream)?.keep_values(&plan.channel)?;
        }
        Ok(notes)
    }

    fn ready_consumer(&self, plan: &ChannelPlan) -> Result<Vec<Note>, Error> {
        let (stream, name) = (self.stream(&plan.stream)?, &plan.channel);
        let wanted = Definition {
            start: start_text(plan.start),
            subjects: plan.subjects.iter().map(ToString::to_string).collect(),
            began: None,
        };
        let Some(consumer) = stream.roster.find(name) else {
            create(&stream, plan, wanted)?;
            return Ok(vec![Note::Done(format!(
                "channel {name}: consumer created in stream {}",
                stream.name
            ))]);
        };
        let mut notes = Vec::new();
        let key = format!("{DEFINITIONS}{name}");
        let known = stream.state.get(&key).and_then(|json| serde_json::from_slice::<Definition>(&json).ok());
        if let Some(mut known) = known {
            consumer.began.store(known.began.unwrap_or(0), Ordering::Relaxed);
            if known.start != wanted.start {
                notes.push(Note::Differs(format!(
                    "channel {name}: start is {:?}, but its consumer was created with {:?}, and start is read only then",
                    wanted.start, known.start
                )));
            }
            if known.subjects != wanted.subjects {
                notes.push(Note::Done(format!(
                    "channel {name}: subjects changed; they apply from where it stands"
                )));
                known.subjects = wanted.subjects;
                put_definition(&stream, name, &known)?;
            }
        }
        let settings = Settings::of(plan);
        if consumer.settings().is_none_or(|present| present != settings) {
            consumer.configure(Some(settings), stream.log.dispatched(), || stream.roster.changed());
        }
        Ok(notes)
    }
}

fn create(stream: &Stream, plan: &ChannelPlan, definition: Definition) -> Result<(), Error> {
    let (log, name) = (&stream.log, &plan.channel);
    let cursor = match plan.start {
        Start::All => log.first(),
        Start::New => log.last() + 1,
        Start::Time(time) => log.at_time(time)?,
        Start::Sequence(sequence) => sequence.max(log.first()),
    };
    let consumer = Consumer::begin(name.clone(), cursor);
    consumer.began.store(cursor, Ordering::Relaxed);
    let definition = Definition { began: Some(cursor), ..definition };
    consumer.configure(Some(Settings::of(plan)), log.dispatched(), || {});
    put_definition(stream, name, &definition)?;
    consumer.save(&stream.state, log.dispatched())?;
    stream.roster.add(Arc::new(consumer));
    Ok(())
}

fn put_definition(stream: &Stream, name: &ChannelName, definition: &Definition) -> Result<(), Error> {
    let json = serde_json::to_vec(definition).map_err(|error| Error::Config(error.to_string()))?;
    Ok(stream.state.put(&format!("{DEFINITIONS}{name}"), &json)?)
}

/// A consumer that the plan does not name keeps its place and holds nothing.
fn retire_others(stream: &Stream, plan: &Plan) -> Vec<Note> {
    let ours = |channel: &&ChannelPlan| channel.stream == stream.name;
    let planned: BTreeSet<_> = plan.channels.iter().filter(ours).map(|channel| &channel.channel).collect();
    let mut notes = Vec::new();
    for name in
        stream.state.under(CONSUMERS).into_iter().filter_map(|(name, _)| ChannelName::parse(&name).ok())
    {
        if planned.contains(&name) {
            continue;
        }
        if let Some(consumer) = stream.roster.find(&name)
            && consumer.settings().is_some()
        {
            consumer.configure(None, stream.log.dispatched(), || stream.roster.changed());
        }
        notes.push(Note::Differs(format!(
            "channel {name} is not configured for stream {} any more: its place is kept, and holds no event back",
            stream.name
        )));
    }
    notes
}

fn start_text(start: Start) -> String {
    match start {
        Start::All => "all".to_owned(),
        Start::New => "new".to_owned(),
        Start::Time(millis) => format!("time {millis}"),
        Start::Sequence(sequence) => format!("sequence {sequence}"),
    }
}
