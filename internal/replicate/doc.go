// Package replicate decides whom to ask for what is missing, and what to answer:
// the [Planner] of sync and the two ends of a pull.
//
// It does no input or output. Events go in, actions come out, and the caller,
// which owns the streams, carries them out:
//
//	          ┌───────────────── Planner ─────────────────┐
//	Connected │  B  wanted 12:00:01  idle                 │
//	Announced │  C  wanted 12:00:03  failed twice, 12:04  │  Pull{B, announced}
//	Progress  │  D  in flight, last byte 12:00:02         │  Leave{D}
//	PullDone  │                                           │
//	Tick      └──── next random pull 12:00:27 ────────────┘  Wake: 12:00:07
//
// A pull is one conversation with one member that fetches whatever that member
// has and we lack, of every team we share. The rules:
//
//   - A member is asked when it connects, when it announces what we lack, and one
//     at random every 30 s ± 20 %. The last heals every message that was lost:
//     convergence never depends on an announcement. While there is news that
//     announcements do not spread, the random member is asked every 2 s: it sees that
//     it is behind, pulls, and spreads the news itself.
//   - One pull per member at a time, at most [Options.Max] in all; who waits
//     longest goes first. News that come during a pull lead to one more after it.
//   - A pull brings all that its member has, so one at a time is enough, and two
//     would bring most of it twice. After [Options.Beside] another may start beside
//     one that is slow.
//   - A pull that brings nothing for [Options.Stall] is left ([Leave]) and another
//     member asked instead; a member that failed or stalled is asked again later
//     and later, up to a minute apart, for as long as it is connected.
//   - Members that announce much and have nothing new are asked less often.
//
// An example, a put on B seen by a node that B and C are connected to:
//
//	p.Step(t0, Announced{B})                    → Pull{B}
//	p.Step(t0+5s, Tick{})                       → Leave{B}        (B said nothing)
//	p.Step(t0+5s, PullDone{B, Stalled})         → Pull{C, instead}
//	p.Step(t0+5s, PullDone{C, Progressed})      → nothing
//
// Time and randomness are handed in: the same events and the same random numbers
// give the same actions, so any run can be replayed from its seed. The package
// knows neither streams nor how anything is stored, sealed or judged.
//
// The two ends of a pull decide here too: [Answer] says what an asker lacks, from
// what a [Team] and its [Replica]s tell; an [Intake] walks the asker through the
// answer window by window; [Behind] and [Holds] notice in passing that the other
// side knows more.
package replicate
