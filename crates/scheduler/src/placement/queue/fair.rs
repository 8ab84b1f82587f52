//! Who is next where several namespaces have tasks in the queue: what has waited too long, and then whose turn it is.
//!
//! Those of a line that have one priority are a class. Whatever became of a class, only its first task is looked at, so that
//! choosing costs as much as there are classes, not as there are tasks.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use quorate_state::{Choice, Line, ReadyKey, Resources, Revision, RunId, Served, State, TaskId};

use super::tenants::Tenants;

/// The classes, and the order in which they are served.
pub(super) struct Fair<'a> {
    classes: Vec<Class<'a>>,
    /// The first tasks of classes that have waited too long, in the order of their submits.
    overdue: BTreeSet<(Submit, usize)>,
    /// What became ready at this instant or before has waited too long.
    overdue_before: Option<Served>,
    /// The class that was given out last, and whether all of that step is passed over.
    last: Option<(usize, bool)>,
    /// What is served from another place of the queue on, in its order.
    ahead: Option<BinaryHeap<Reverse<(ReadyKey, usize)>>>,
}

/// Where a task stands in the order of submits.
type Submit = (Revision, u32, TaskId);

struct Class<'a> {
    /// The number of its line.
    line: usize,
    of: Line<'a>,
    /// Of its namespace, in the tree.
    own: usize,
    asks: Resources,
    priority_inverse: u8,
    places: Box<dyn Iterator<Item = ReadyKey> + 'a>,
    head: Option<ReadyKey>,
    is_overdue: bool,
}

impl<'a> Fair<'a> {
    /// The classes of these lines, each with its place in the tree.
    pub(super) fn new(lines: &[(Line<'a>, usize)], overdue_before: Option<Served>) -> Self {
        let mut classes = Vec::new();
        for (number, (line, own)) in lines.iter().enumerate() {
            // Whose turn it is goes by what it would rather have.
            let asks = line.shape().task().map_or(Resources::ZERO, |task| task.taken_at_once(Choice::FIRST));
            let mut first = line.places().next();
            while let Some(head) = first {
                let priority_inverse = head.priority_inverse;
                let places: Box<dyn Iterator<Item = ReadyKey> + 'a> = Box::new(line.places_after(head));
                let (of, own, head) = (*line, *own, Some(head));
                classes.push(Class { line: number, of, own, asks, priority_inverse, places, head, is_overdue: false });
                first = line.places_after(last_of(priority_inverse)).next();
            }
        }
        Self { classes, overdue: BTreeSet::new(), overdue_before, last: None, ahead: None }
    }

    /// Puts all classes where they belong.
    pub(super) fn begin(&mut self, view: &State, tenants: &mut Tenants<'a>) {
        for number in 0..self.classes.len() {
            let (own, head) = (self.classes[number].own, self.classes[number].head);
            tenants.set_head(own, number, None, head);
            self.note_overdue(view, number);
        }
        let owns: BTreeSet<usize> = self.classes.iter().map(|class| class.own).collect();
        for own in owns {
            self.settle(tenants, own);
        }
    }

    /// Something has waited too long.
    pub(super) fn has_overdue(&self) -> bool {
        !self.overdue.is_empty()
    }

    /// The next task, and the number of its line.
    pub(super) fn next(&mut self, view: &State, tenants: &mut Tenants<'a>) -> Option<(ReadyKey, usize)> {
        if let Some((number, whole_step)) = self.last.take() {
            self.move_on(view, tenants, number, whole_step);
        }
        let (head, number) = match &mut self.ahead {
            Some(ahead) => ahead.pop().map(|Reverse(next)| next),
            None => self.overdue.first().and_then(|(_, number)| Some((self.classes[*number].head?, *number))),
        }
        .or_else(|| if self.ahead.is_some() { None } else { tenants.next() })?;
        self.last = Some((number, false));
        Some((head, self.classes[number].line))
    }

    /// Nothing of the step that was given out last is placed now.
    pub(super) fn pass_step(&mut self) {
        if let Some((_, whole_step)) = &mut self.last {
            *whole_step = true;
        }
    }

    /// What was given out last is the next again.
    pub(super) fn step_back(&mut self) {
        let last = self.last.take();
        if let (Some((number, _)), Some(ahead)) = (last, &mut self.ahead) {
            ahead.extend(self.classes[number].head.map(|head| Reverse((head, number))));
        }
    }

    /// Gives out nothing more of these lines.
    pub(super) fn leave_out(&mut self, tenants: &mut Tenants<'a>, is_left_out: impl Fn(usize) -> bool) {
        self.last = None;
        let mut owns = BTreeSet::new();
        for number in 0..self.classes.len() {
            if is_left_out(self.classes[number].line) && self.classes[number].head.is_some() {
                self.forget_head(tenants, number);
                owns.insert(self.classes[number].own);
            }
        }
        for own in owns {
            self.settle(tenants, own);
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.retain(|Reverse((_, number))| self.classes[*number].head.is_some());
        }
    }

    /// Goes on behind a place in the queue, in the order of the queue from there.
    pub(super) fn go_on_after(&mut self, place: ReadyKey) {
        self.last = None;
        let mut ahead = BinaryHeap::new();
        for (number, class) in self.classes.iter_mut().enumerate() {
            if class.head.is_some_and(|head| head <= place) {
                class.go_to(place);
            }
            ahead.extend(class.head.map(|head| Reverse((head, number))));
        }
        self.ahead = Some(ahead);
    }

    fn move_on(&mut self, view: &State, tenants: &mut Tenants<'a>, number: usize, whole_step: bool) {
        let old = self.classes[number].head;
        self.forget_head(tenants, number);
        let class = &mut self.classes[number];
        match old.filter(|_| whole_step) {
            Some(head) => class.go_to(ReadyKey { task: TaskId { index: u32::MAX, ..head.task }, ..head }),
            None => class.head = class.places.next().filter(|place| place.priority_inverse == class.priority_inverse),
        }
        let (own, head) = (class.own, class.head);
        if let Some(ahead) = &mut self.ahead {
            ahead.extend(head.map(|head| Reverse((head, number))));
            return;
        }
        tenants.set_head(own, number, None, head);
        self.note_overdue(view, number);
        self.settle(tenants, own);
    }

    fn forget_head(&mut self, tenants: &mut Tenants<'a>, number: usize) {
        let class = &mut self.classes[number];
        let Some(head) = class.head.take() else { return };
        tenants.set_head(class.own, number, Some(head), None);
        if std::mem::take(&mut class.is_overdue) {
            self.overdue.remove(&(submit_of(head), number));
        }
    }

    fn note_overdue(&mut self, view: &State, number: usize) {
        let (Some(before), Some(head)) = (self.overdue_before, self.classes[number].head) else { return };
        let since = view.task(head.task).and_then(|task| task.ready_since);
        if since.is_some_and(|since| since <= before) {
            self.classes[number].is_overdue = true;
            self.overdue.insert((submit_of(head), number));
        }
    }

    fn settle(&self, tenants: &mut Tenants<'a>, own: usize) {
        tenants.settle(own, |number| self.classes[number].asks);
    }
}

impl Class<'_> {
    fn go_to(&mut self, place: ReadyKey) {
        self.places = Box::new(self.of.places_after(place));
        self.head = self.places.next().filter(|next| next.priority_inverse == self.priority_inverse);
    }
}

fn submit_of(ReadyKey { submitted, item, task, .. }: ReadyKey) -> Submit {
    (submitted, item, task)
}

/// Behind all tasks of a priority.
fn last_of(priority_inverse: u8) -> ReadyKey {
    let task = TaskId { run: RunId(u64::MAX), step: u32::MAX, index: u32::MAX };
    ReadyKey { priority_inverse, submitted: Revision(u64::MAX), item: u32::MAX, task }
}
