//! Alarms on a hashed timing wheel (Varghese and Lauck, scheme 6).
//!
//! A slot holds tickets. A ticket whose alarm has gone or was moved is found stale when its slot comes round,
//! so moving an alarm later costs one store; only moving it earlier puts a second ticket into the wheel.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::TICK;

/// Alarms that ring one right after the other. Where a thousand are due in the same tick, what is ready otherwise has its
/// turn in between.
const AT_ONCE: usize = 4;

/// Slots of the wheel: about 102 seconds in one turn. Later alarms go round more than once.
const SLOTS: usize = 1024;

/// The alarms of one worker. Cloning gives another handle to the same wheel.
#[derive(Clone)]
pub struct Timers {
    shared: Rc<Shared>,
}

struct Shared {
    wheel: RefCell<Wheel>,
    armed: Notify,
}

struct Wheel {
    /// Ticks since the wheel began to turn.
    now: u64,
    slots: Vec<Vec<Ticket>>,
    entries: Vec<Entry>,
    free: Vec<usize>,
    live: usize,
    serial: u64,
}

struct Entry {
    due: u64,
    /// The one ticket that counts; others are stale.
    ticket: u64,
    ticket_due: u64,
    rung: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
struct Ticket {
    entry: usize,
    serial: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

impl Timers {
    /// An empty wheel; it turns only while [`Timers::run`] is polled.
    pub fn new() -> Self {
        let wheel = Wheel {
            now: 0,
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            entries: Vec::new(),
            free: Vec::new(),
            live: 0,
            serial: 0,
        };
        Self {
            shared: Rc::new(Shared {
                wheel: RefCell::new(wheel),
                armed: Notify::new(),
            }),
        }
    }

    /// An alarm that rings after `delay`.
    pub fn alarm(&self, delay: Duration) -> Alarm {
        let mut wheel = self.shared.wheel.borrow_mut();
        let entry = wheel.add();
        wheel.set(entry, ticks(delay));
        if wheel.live == 1 {
            self.shared.armed.notify_one();
        }
        Alarm {
            timers: self.clone(),
            entry,
        }
    }

    /// Turns the wheel for ever. One task of the worker does this.
    pub async fn run(&self) {
        let mut turned_until = Instant::now();
        loop {
            if self.shared.wheel.borrow().live == 0 {
                self.shared.armed.notified().await;
                turned_until = Instant::now();
                continue;
            }
            tokio::time::sleep_until(turned_until + TICK).await;
            // A worker that was held up turns as often as it missed, else its alarms would stay late for good.
            while turned_until + TICK <= Instant::now() {
                turned_until += TICK;
                self.turn().await;
            }
        }
    }

    /// Whom a tick wakes. To be woken outside the borrow: a waker may run code that sets an alarm.
    fn turned(&self) -> Vec<Waker> {
        self.shared.wheel.borrow_mut().turn()
    }

    async fn turn(&self) {
        let ringing = self.turned();
        for (count, waker) in (1_usize..).zip(ringing) {
            waker.wake();
            if count.is_multiple_of(AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Wheel {
    fn add(&mut self) -> usize {
        self.live += 1;
        let entry = Entry {
            due: 0,
            ticket: 0,
            ticket_due: u64::MAX,
            rung: false,
            waker: None,
        };
        match self.free.pop() {
            Some(index) => {
                if let Some(slot) = self.entries.get_mut(index) {
                    *slot = entry;
                }
                index
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        }
    }

    fn set(&mut self, index: usize, delay: u64) {
        // One more than asked for, because the current tick is partly over.
        let due = self.now.saturating_add(delay).saturating_add(1);
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        entry.due = due;
        entry.rung = false;
        if due < entry.ticket_due {
            self.insert(index, due);
        }
    }

    fn insert(&mut self, index: usize, due: u64) {
        self.serial += 1;
        let serial = self.serial;
        if let Some(entry) = self.entries.get_mut(index) {
            entry.ticket = serial;
            entry.ticket_due = due;
        }
        if let Some(slot) = self.slots.get_mut(slot_of(due)) {
            slot.push(Ticket {
                entry: index,
                serial,
            });
        }
    }

    fn turn(&mut self) -> Vec<Waker> {
        self.now += 1;
        let now = self.now;
        let mut ringing = Vec::new();
        let Some(slot) = self.slots.get_mut(slot_of(now)) else {
            return ringing;
        };
        let mut tickets = std::mem::take(slot);
        for ticket in tickets.drain(..) {
            let Some(entry) = self.entries.get_mut(ticket.entry) else {
                continue;
            };
            if entry.ticket != ticket.serial {
                continue;
            }
            if entry.due > now {
                let due = entry.due;
                self.insert(ticket.entry, due);
                continue;
            }
            entry.rung = true;
            entry.ticket_due = u64::MAX;
            ringing.extend(entry.waker.take());
        }
        // Hands the emptied slot its memory back, unless a moved ticket has landed there already.
        if let Some(slot) = self.slots.get_mut(slot_of(now))
            && slot.is_empty()
        {
            *slot = tickets;
        }
        ringing
    }

    fn remove(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.ticket = 0;
            entry.waker = None;
        }
        self.free.push(index);
        self.live -= 1;
    }
}

fn slot_of(due: u64) -> usize {
    let slots = u64::try_from(SLOTS).unwrap_or(1);
    usize::try_from(due % slots).unwrap_or(0)
}

fn ticks(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX / 2)
}

/// Rings once after its delay; set it again to use it again. Dropping it cancels.
pub struct Alarm {
    timers: Timers,
    entry: usize,
}

impl Alarm {
    /// Starts again from now with this delay, whether or not it has rung.
    pub fn set(&self, delay: Duration) {
        self.timers
            .shared
            .wheel
            .borrow_mut()
            .set(self.entry, ticks(delay));
    }

    /// Does not ring until set again.
    pub fn pause(&self) {
        // A century: far enough, and no overflow of the tick counter.
        self.set(Duration::from_secs(100 * 365 * 24 * 3600));
    }

    /// Ready once it has rung, and from then on until set again.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wheel = self.timers.shared.wheel.borrow_mut();
        let Some(entry) = wheel.entries.get_mut(self.entry) else {
            return Poll::Pending;
        };
        if entry.rung {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_rung(cx)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timers.shared.wheel.borrow_mut().remove(self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(alarm: &Alarm) -> bool {
        alarm
            .poll_rung(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    fn turn(timers: &Timers, ticks: u32) {
        (0..ticks).for_each(|_| timers.turned().into_iter().for_each(Waker::wake));
    }

    #[test]
    fn rings_when_due_and_not_before() {
        let timers = Timers::new();
        let alarm = timers.alarm(TICK * 3);
        turn(&timers, 3);
        assert!(!rung(&alarm));
        turn(&timers, 1);
        assert!(rung(&alarm));
    }

    #[test]
    fn restarting_moves_it_later_and_setting_moves_it_earlier() {
        let timers = Timers::new();
        let alarm = timers.alarm(TICK * 5);
        for _ in 0..20 {
            turn(&timers, 4);
            alarm.set(TICK * 5);
            assert!(!rung(&alarm));
        }
        turn(&timers, 6);
        assert!(rung(&alarm));
        alarm.set(TICK * 500);
        assert!(!rung(&alarm));
        alarm.set(TICK * 2);
        turn(&timers, 3);
        assert!(rung(&alarm));
    }

    #[test]
    fn survives_more_than_one_turn_of_the_wheel() {
        let timers = Timers::new();
        let alarm = timers.alarm(TICK * 3000);
        turn(&timers, 3000);
        assert!(!rung(&alarm));
        turn(&timers, 1);
        assert!(rung(&alarm));
    }

    #[test]
    fn a_slot_used_again_does_not_ring_for_its_former_owner() {
        let timers = Timers::new();
        drop(timers.alarm(TICK * 2));
        let second = timers.alarm(TICK * 10);
        turn(&timers, 5);
        assert!(!rung(&second));
        second.pause();
        turn(&timers, 5000);
        assert!(!rung(&second));
        assert_eq!(timers.shared.wheel.borrow().entries.len(), 1);
    }
}
