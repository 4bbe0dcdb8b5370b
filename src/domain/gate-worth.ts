// Worth: what is only of the moment or of the conversation itself is no memory. Greetings, thanks and consent are told by the words
// quoted; reports of what somebody said or asked, and passing states, by the statement. Whatever names a number, a date or a name
// is never called chatter, and a constraint or a procedure is meant to last.
import { contentWords, datesIn, namesIn, numbersIn } from './gate-words.ts';
import type { Decided } from './gate-input.ts';
import type { Candidate } from './memory.ts';

/** Words of which greetings, thanks, consent and interjections are made. */
const TALK = contentWords('hello hi hey ok okay k yes yeah yep no nope thanks thank thx cheers bye goodbye please sorry great good fine cool nice perfect sure right well welcome morning afternoon evening night day much lot million '
  + 'haha lol hm hmm mhm phew wow oops brb go going ahead send take do continue proceed again there now wait moment minute hold job work done let me think see tell know another time how got understood agreed exactly');

/** "The user said thanks": an act of the conversation. */
const ACT = /^(?:the )?(?:user|customer|client|caller|person|they|he|she)(?: has| had| just| also)* (?:said|says|replied|responded|laughed|laughs|greeted|greets|thanked|thanks|agreed|agrees|confirmed|apologi[sz]ed|acknowledged|wished|waved|nodded|is grateful|was grateful|asked (?:to|for|if|whether|me|the agent|the assistant)|decided to (?:go on|continue|proceed|wait)|wants? to (?:go on|continue|proceed|wait))\b/i;
/** A state that will have passed by the next conversation. */
const PASSING = new RegExp([
  /\b(?:right now|at the moment|just now|for now|this minute|a moment ago|(?:ready|busy|tired|hungry|late) (?:now|today)|in progress)\b/,
  /\b(?:is|was|feels?|seems?) (?:a (?:bit|little) |very |quite |so )?(?:tired|hungry|thirsty|sleepy|bored|busy|relieved|grateful|glad|happy|friendly|cheerful|annoyed|back|away|ready|in the wrong \w+|in a (?:hurry|meeting|call))\b(?! (?:every|each|on|when|in|at|by)\b)/,
  /\b(?:is|was) (?:looking|waiting|typing|thinking|eating|drinking|driving|walking|laughing|smiling|reading along|sitting) ?(?:for|on|in|at|to|about|\.|$)/,
  /\b(?:went|goes|is off|left|steps? out) for (?:a )?(?:coffee|lunch|tea|walk|break|smoke)\b/, /\bneeds? a (?:sandwich|coffee|break|drink|moment|minute|snack|nap)\b/,
  /\b(?:phone|door ?bell|telephone) (?:rings|rang|is ringing)\b/, /\bis on an? (?:\w+ )?(?:train|bus|plane|tram|ferry)\b/, /\bwill (?:tell|say|write|answer|call|come back|return|let)\b.*\b(?:later|soon|another time|in a (?:moment|minute))\b/, /\bit (?:is|was) (?:raining|snowing|sunny|hot|cold|late)\b/,
].map((pattern) => pattern.source).join('|'), 'i');

export function worth({ type, statement, evidence }: Candidate): Decided | undefined {
  if (type === 'constraint' || type === 'procedure' || isSpecific(statement)) return undefined;
  const said = contentWords(evidence.map((line) => line.quote).join('\n'));
  const isTalk = [...said].every((word) => TALK.has(word));
  return isTalk || ACT.test(statement) || PASSING.test(statement) ? { decision: 'REJECT', reason: 'CHATTER' } : undefined;
}

const isSpecific = (statement: string): boolean => namesIn(statement).sure.size + numbersIn(statement).size + datesIn(statement).size > 0;
