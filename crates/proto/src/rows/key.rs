//! Keys of rows: one byte for the kind, in the order in which rows are loaded, then the object's own
//! key, so encoded that the order of the bytes is the order of the tables.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_state::{AttemptId, DedupKey, JobName, JoinTokenId, Namespace, Principal, RequestId, RunId, Scope, TaskId};

use crate::format::FormatError;
use crate::format::parts::parsed;

/// Ends a text in a key. It sorts before every other character, so that a text sorts before its
/// extensions; a zero byte within the text is written as `ESCAPED_ZERO` and sorts after the end.
const TEXT_END: [u8; 2] = [0, 1];
const ESCAPED_ZERO: [u8; 2] = [0, 0xff];

/// What a row is of. The order is that of loading: runs need their specs, tasks their runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Meta = 1,
    Settings = 2,
    Namespace = 3,
    Cluster = 4,
    Node = 5,
    Job = 6,
    Spec = 7,
    Run = 8,
    Task = 9,
    Attempt = 10,
    Request = 11,
    Annotation = 12,
    Feature = 13,
    JoinToken = 14,
    Step = 15,
    Segment = 16,
    Leaving = 17,
    Version = 18,
    Claim = 19,
    Scope = 24,
    Rebalance = 26,
    Move = 27,
    Reservation = 28,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        const ALL: [Kind; 23] = [
            Kind::Meta,
            Kind::Settings,
            Kind::Namespace,
            Kind::Cluster,
            Kind::Node,
            Kind::Job,
            Kind::Spec,
            Kind::Run,
            Kind::Task,
            Kind::Attempt,
            Kind::Request,
            Kind::Annotation,
            Kind::Feature,
            Kind::JoinToken,
            Kind::Step,
            Kind::Segment,
            Kind::Leaving,
            Kind::Version,
            Kind::Claim,
            Kind::Scope,
            Kind::Rebalance,
            Kind::Move,
            Kind::Reservation,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A key being written.
pub(super) struct Key(BytesMut);

impl Key {
    pub(super) fn of(kind: Kind) -> Self {
        let mut bytes = BytesMut::with_capacity(32);
        bytes.put_u8(kind as u8);
        Self(bytes)
    }

    pub(super) fn request((namespace, principal, id): &DedupKey) -> Self {
        // No namespace has an empty name, so that "none" is the empty text and sorts first.
        let namespace = namespace.as_ref().map_or("", |namespace| namespace.as_str());
        Self::of(Kind::Request).text(namespace).text(&principal.0).text(&id.0)
    }

    pub(super) fn version((namespace, job, version): (&Namespace, &JobName, u32)) -> Self {
        Self::of(Kind::Version).text(namespace.as_str()).text(job.as_str()).number(version)
    }

    pub(super) fn scope(scope: &Scope) -> Self {
        Self::of(Kind::Scope).text(scope.kind()).text(scope.name())
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            if byte == 0 {
                self.0.put_slice(&ESCAPED_ZERO);
            } else {
                self.0.put_u8(byte);
            }
        }
        self.0.put_slice(&TEXT_END);
        self
    }

    pub(super) fn number(mut self, number: u32) -> Self {
        self.0.put_u32(number);
        self
    }

    pub(super) fn run(mut self, run: RunId) -> Self {
        self.0.put_u64(run.0);
        self
    }

    pub(super) fn join_token(mut self, token: JoinTokenId) -> Self {
        self.0.put_u64(token.0);
        self
    }

    pub(super) fn step(self, run: RunId, step: u32) -> Self {
        self.run(run).number(step)
    }

    pub(super) fn task(self, task: TaskId) -> Self {
        let mut key = self.run(task.run);
        key.0.put_u32(task.step);
        key.0.put_u32(task.index);
        key
    }

    pub(super) fn attempt(self, attempt: AttemptId) -> Self {
        let mut key = self.task(attempt.task);
        key.0.put_u32(attempt.number);
        key
    }

    pub(super) fn done(self) -> Bytes {
        self.0.freeze()
    }
}

/// A key being read, part by part. Bytes left over are found when the row is encoded again.
pub(super) struct Parts<'a> {
    key: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn of(key: &'a [u8]) -> Self {
        Self { key, rest: key }
    }

    /// What comes behind so many bytes.
    pub(super) fn behind(key: &'a [u8], bytes: usize) -> Result<Self, FormatError> {
        let rest = key.get(bytes..).ok_or_else(|| FormatError::Key(key.to_vec()))?;
        Ok(Self { key, rest })
    }

    pub(super) fn kind(&mut self) -> Result<Kind, FormatError> {
        let [byte] = self.take()?;
        Kind::of(byte).ok_or_else(|| self.wrong())
    }

    pub(super) fn name<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        field: &'static str,
    ) -> Result<T, FormatError> {
        parsed(field, &self.text()?)
    }

    pub(super) fn run(&mut self) -> Result<RunId, FormatError> {
        self.take().map(u64::from_be_bytes).map(RunId)
    }

    pub(super) fn join_token(&mut self) -> Result<JoinTokenId, FormatError> {
        self.take().map(u64::from_be_bytes).map(JoinTokenId)
    }

    pub(super) fn step(&mut self) -> Result<(RunId, u32), FormatError> {
        Ok((self.run()?, self.number()?))
    }

    pub(super) fn task(&mut self) -> Result<TaskId, FormatError> {
        Ok(TaskId { run: self.run()?, step: self.number()?, index: self.number()? })
    }

    pub(super) fn attempt(&mut self) -> Result<AttemptId, FormatError> {
        Ok(AttemptId { task: self.task()?, number: self.number()? })
    }

    pub(super) fn request(&mut self) -> Result<DedupKey, FormatError> {
        let namespace = self.text()?;
        let namespace = if namespace.is_empty() { None } else { Some(parsed("namespace", &namespace)?) };
        Ok((namespace, Principal(self.text()?.into()), RequestId(self.text()?.into())))
    }

    pub(super) fn scope(&mut self) -> Result<Scope, FormatError> {
        match self.text()?.as_str() {
            "region" => Ok(Scope::Region(self.name("region")?)),
            "cluster" => Ok(Scope::Cluster(self.name("cluster")?)),
            _ => Err(self.wrong()),
        }
    }

    fn text(&mut self) -> Result<String, FormatError> {
        let mut text = Vec::new();
        loop {
            let [byte] = self.take()?;
            if byte != 0 {
                text.push(byte);
                continue;
            }
            let [second] = self.take()?;
            match [byte, second] {
                TEXT_END => break,
                ESCAPED_ZERO => text.push(0),
                _ => return Err(self.wrong()),
            }
        }
        String::from_utf8(text).map_err(|_| self.wrong())
    }

    pub(super) fn number(&mut self) -> Result<u32, FormatError> {
        self.take().map(u32::from_be_bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (part, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.wrong())?;
        self.rest = rest;
        Ok(*part)
    }

    fn wrong(&self) -> FormatError {
        FormatError::Key(self.key.to_vec())
    }
}
