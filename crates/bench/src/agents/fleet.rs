//! Many fake agents in this process: each with a session of its own with one of the replicas, many sessions over
//! few connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_client::agent_link::session_error;
use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as Said;
use quorate_proto::v1::agents_client::AgentsClient;
use quorate_proto::v1::server_message::Message as Told;
use quorate_seams::{BootInstant, Clock as _, Entropy as _, SystemClock, SystemEntropy};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::board::{Board, word};
use super::body::{Body, Happened, Processes, Who};
use crate::Error;
use crate::load::channel;

/// Messages of one agent that wait for the connection.
const OUTGOING_MAX: usize = 64;
/// A replica takes a session within this,
const OPEN_DEADLINE: Duration = Duration::from_secs(3);
/// and welcomes the agent within this: as the product's agent.
const WELCOME_DEADLINE: Duration = Duration::from_secs(6);
/// First pause after a session ended; it doubles with every failure in a row, as the product's.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Every replica is asked at least this often.
const ROUND_MAX: Duration = Duration::from_secs(2);
/// Between two looks at the board.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Live,
    /// Its machine has stopped: it says nothing, and no connection is closed.
    Silent,
}

/// Where agents stand, and what their names begin with.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) prefix: String,
    pub(crate) region: String,
    pub(crate) cluster: String,
}

impl Default for Site {
    fn default() -> Self {
        Self { prefix: "fake".to_owned(), region: "default".to_owned(), cluster: "default".to_owned() }
    }
}

/// The agents. Dropping it ends them all.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    modes: Vec<watch::Sender<Mode>>,
    tasks: JoinSet<()>,
    prefix: String,
}

struct Shared {
    board: Mutex<Board>,
    /// By replica, and then by group of agents.
    channels: Vec<Vec<Channel>>,
    per_connection: usize,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, replica: usize, agent: usize) -> AgentsClient<Channel> {
        let channel = self.channels[replica % self.channels.len()][agent / self.per_connection].clone();
        AgentsClient::new(channel)
            .max_decoding_message_size(quorate_client::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(quorate_client::MESSAGE_BYTES_MAX)
    }
}

/// Connections that so many agents need when all of them come to one replica.
pub(super) fn connections(agents: usize, per_connection: usize) -> usize {
    agents.div_ceil(per_connection.max(1))
}

impl Fleet {
    /// Lets so many agents register with the replicas at these addresses, all at once.
    pub(crate) fn start(
        addresses: &[String],
        agents: usize,
        per_connection: usize,
        processes: Processes,
        site: &Site,
    ) -> Result<Self, Error> {
        let groups = 0..connections(agents, per_connection);
        let to = |address: &String| groups.clone().map(|_| channel(address)).collect::<Result<Vec<_>, _>>();
        let channels = addresses.iter().map(to).collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared { board: Mutex::new(Board::new(agents)), channels, per_connection });
        let (mut modes, mut tasks) = (Vec::with_capacity(agents), JoinSet::new());
        for number in 0..agents {
            let (mode, told) = watch::channel(Mode::Live);
            modes.push(mode);
            tasks.spawn(Agent::new(shared.clone(), number, processes, site).live(told));
        }
        Ok(Self { shared, modes, tasks, prefix: site.prefix.clone() })
    }

    /// The name of an agent's node.
    pub(super) fn node(&self, agent: usize) -> String {
        node(&self.prefix, agent)
    }

    /// What was seen.
    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.shared.board()
    }

    /// Takes the machine away from an agent: its last word, and the instant.
    pub(super) fn silence(&self, agent: usize) -> (BootInstant, BootInstant) {
        self.modes[agent].send_replace(Mode::Silent);
        let mut board = self.board();
        (board.died(agent), SystemClock.boot())
    }

    /// Gives every agent a machine again that has none; nothing runs there any more.
    pub(super) fn revive(&self) {
        for mode in &self.modes {
            mode.send_if_modified(|mode| std::mem::replace(mode, Mode::Live) != Mode::Live);
        }
    }

    /// Waits until the board shows something, while the agents live.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Board) -> Result<T, String>,
    ) -> Result<T, Error> {
        let begun = SystemClock.boot();
        loop {
            let seen = look(&self.board());
            let seen = match seen {
                Ok(value) => return Ok(value),
                Err(seen) => seen,
            };
            if SystemClock.boot().since(begun) >= within {
                let detail = format!(": {seen}; sessions that failed: {:?}", self.board().failures());
                return Err(Error::NotInTime { what: what.to_owned(), waited: within, detail });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every agent is registered and knows what it should run.
    pub(crate) async fn all_registered(&self, within: Duration) -> Result<(), Error> {
        let all = self.modes.len();
        self.until("every agent registered", within, |board| match board.with_session() {
            sessions if sessions >= all => Ok(()),
            sessions => Err(format!("{sessions} of {all} are")),
        })
        .await
    }

    /// The same, for each of them anew since the board was cleared: the instant.
    pub(super) async fn all_registered_again(&self, within: Duration) -> Result<BootInstant, Error> {
        let all = self.modes.len();
        self.until("every agent registered again", within, |board| match board.registrations().last() {
            Some(last) if board.registrations().len() >= all && board.with_session() >= all => Ok(*last),
            _ => Err(format!("{} of {all} are", board.registrations().len())),
        })
        .await
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.modes.len()
    }

    /// Sessions that ended or did not come about, by reason.
    pub(crate) fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.board().failures()
    }

    /// Ends them all.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// One agent.
struct Agent {
    shared: Arc<Shared>,
    number: usize,
    body: Body,
    /// Which replica is next.
    turn: usize,
    /// Sessions in a row that did not get as far as a set.
    failures: u32,
}

fn node(prefix: &str, number: usize) -> String {
    format!("{prefix}-{:05}", number + 1)
}

/// How a session has ended.
enum End {
    /// By itself, or it did not come about: the word for it.
    Failed(&'static str),
    /// Its agent's machine has stopped; what was open stays open.
    Silenced(Option<Box<Link>>),
}

/// An open session.
struct Link {
    sender: mpsc::Sender<v1::AgentMessage>,
    answers: Streaming<v1::ServerMessage>,
}

impl Agent {
    fn new(shared: Arc<Shared>, number: usize, processes: Processes, site: &Site) -> Self {
        let id = || format!("{:016x}{:016x}", SystemEntropy.u64(), SystemEntropy.u64());
        let (region, cluster) = (site.region.clone(), site.cluster.clone());
        let who = Who { node: node(&site.prefix, number), uuid: id(), journal: id(), region, cluster };
        Self { shared, number, body: Body::new(who, processes), turn: number, failures: 0 }
    }

    async fn live(mut self, mut mode: watch::Receiver<Mode>) {
        loop {
            match self.converse(&mut mode).await {
                End::Failed(why) => {
                    self.shared.board().left(self.number, Some(why));
                    self.turn += 1;
                    self.failures = self.failures.saturating_add(1);
                }
                End::Silenced(link) => {
                    if hush(link, &mut mode).await.is_err() {
                        return;
                    }
                    self.body.reboot();
                    self.shared.board().revived(self.number);
                }
            }
            let expired = self.body.expire(SystemClock.boot());
            self.note(&expired);
            tokio::time::sleep(self.pause()).await;
        }
    }

    fn pause(&self) -> Duration {
        let longest = ROUND_MAX / u32::try_from(self.shared.channels.len()).unwrap_or(u32::MAX).max(1);
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(longest);
        let share = (SystemEntropy.u64() % 512) as u32 + 512;
        pause * share / 1_024
    }

    /// One session, from its opening to its end.
    async fn converse(&mut self, mode: &mut watch::Receiver<Mode>) -> End {
        let greeted = SystemClock.boot();
        // Biased, here and below: a machine that has stopped does nothing more, not even what is ready.
        let opened = tokio::select! {
            biased;
            _ = mode.wait_for(|mode| *mode == Mode::Silent) => return End::Silenced(None),
            opened = self.open(greeted) => opened,
        };
        let (mut link, pause) = match opened {
            Ok(opened) => opened,
            Err(why) => return End::Failed(why),
        };
        let mut due = Instant::now();
        let mut unanswered: Option<Instant> = None;
        loop {
            if unanswered.is_some_and(|sent| sent.elapsed() >= pause) {
                return End::Failed("unanswered");
            }
            tokio::select! {
                biased;
                _ = mode.wait_for(|mode| *mode == Mode::Silent) => return End::Silenced(Some(Box::new(link))),
                message = link.answers.message() => match message {
                    Ok(Some(message)) => {
                        if matches!(message.message, Some(Told::Renewed(_))) {
                            unanswered = None;
                        }
                        if !self.on_told(message, &link) {
                            return End::Failed("busy");
                        }
                    }
                    Ok(None) => return End::Failed("ended"),
                    Err(status) => return End::Failed(word(&session_error(&status))),
                },
                () = tokio::time::sleep_until(due) => {
                    let now = SystemClock.boot();
                    let expired = self.body.expire(now);
                    self.note(&expired);
                    let Some(renew) = self.body.renew(now) else { return End::Failed("expired") };
                    if !say(&link, Said::Renew(renew)) {
                        return End::Failed("busy");
                    }
                    self.shared.board().spoke(self.number, now);
                    unanswered = unanswered.or_else(|| Some(Instant::now()));
                    due = Instant::now() + pause;
                }
            }
        }
    }

    /// Opens a session and is welcomed: the session, and the pause between two renewals in it.
    async fn open(&mut self, greeted: BootInstant) -> Result<(Link, Duration), &'static str> {
        let mut link = self.connect().await?;
        let welcome = match tokio::time::timeout(WELCOME_DEADLINE, link.answers.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Err("ended"),
            Ok(Err(status)) => return Err(word(&session_error(&status))),
            Err(_) => return Err("no_welcome"),
        };
        self.body.meet(welcome.incarnation, welcome.revision);
        let Some(Told::Welcome(welcome)) = welcome.message else { return Err("no_welcome") };
        let pause = self.body.on_welcome(welcome, greeted);
        self.shared.board().spoke(self.number, greeted);
        if self.say_news(&link) { Ok((link, pause)) } else { Err("busy") }
    }

    async fn connect(&mut self) -> Result<Link, &'static str> {
        let mut client = self.shared.client(self.turn, self.number);
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        let hello = v1::AgentMessage { message: Some(Said::Hello(self.body.hello())) };
        sender.try_send(hello).map_err(|_| "busy")?;
        let session = client.session(Request::new(ReceiverStream::new(outgoing)));
        match tokio::time::timeout(OPEN_DEADLINE, session).await {
            Ok(Ok(answer)) => Ok(Link { sender, answers: answer.into_inner() }),
            Ok(Err(status)) => Err(word(&session_error(&status))),
            Err(_) => Err("no_answer"),
        }
    }

    /// Takes in what the control plane says; false when the answer finds no room.
    fn on_told(&mut self, message: v1::ServerMessage, link: &Link) -> bool {
        self.body.meet(message.incarnation, message.revision);
        let happened = match message.message {
            Some(Told::Renewed(renewed)) => {
                self.body.on_renewed(&renewed);
                return true;
            }
            Some(Told::Desired(set)) => {
                self.failures = 0;
                let more = set.more;
                let happened = self.body.on_set(set, message.revision);
                if more {
                    return true;
                }
                self.shared.board().registered(self.number, SystemClock.boot());
                happened
            }
            Some(Told::Delta(delta)) => self.body.on_delta(delta, message.revision),
            Some(Told::ReportsAck(ack)) => {
                let happened = self.body.on_acknowledged(&ack);
                self.note(&happened);
                return self.say_news(link);
            }
            Some(Told::LogRequest(request)) => {
                let chunk = v1::LogChunk { id: request.id, error: "NO_LOGS".to_owned(), ..v1::LogChunk::default() };
                return say(link, Said::LogChunk(chunk));
            }
            Some(Told::Welcome(_)) | None => return true,
        };
        let Some(happened) = happened else { return say(link, Said::Resync(v1::ResyncRequest {})) };
        self.note(&happened);
        self.say_news(link)
    }

    /// Says what there is to say, as far as it may go on its way; false when it finds no room.
    fn say_news(&mut self, link: &Link) -> bool {
        while let Some(reports) = self.body.report() {
            if !say(link, Said::Reports(reports)) {
                return false;
            }
        }
        true
    }

    /// Nobody asks for what is over at once, and it may be very much.
    fn note(&self, happened: &Happened) {
        if *happened != Happened::default() && !self.body.answers() {
            self.shared.board().happened(self.number, happened, SystemClock.boot());
        }
    }
}

fn say(link: &Link, message: Said) -> bool {
    link.sender.try_send(v1::AgentMessage { message: Some(message) }).is_ok()
}

/// Keeps a session open and says nothing, until the agent has a machine again. What comes in meanwhile is dropped, so
/// that the other sessions of the connection go on.
async fn hush(link: Option<Box<Link>>, mode: &mut watch::Receiver<Mode>) -> Result<(), watch::error::RecvError> {
    let drain = async {
        if let Some(mut link) = link {
            while let Ok(Some(_)) = link.answers.message().await {}
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        live = mode.wait_for(|mode| *mode == Mode::Live) => live.map(drop),
        () = drain => Ok(()),
    }
}
