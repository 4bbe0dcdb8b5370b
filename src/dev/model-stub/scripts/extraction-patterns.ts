// What the extraction script takes for a memory: one rule per way of saying it, each over a sentence of the user. A statement
// is built from the sentence's own words, and its quote is the sentence, so that evidence is there to be found.
import { sentencesOf } from './read-request.ts';

export interface TranscriptEvent { readonly id: string; readonly role: 'user' | 'agent' | 'tool'; readonly text: string }

export interface Candidate {
  readonly type: string;
  readonly subject: string;
  readonly attribute: string;
  readonly value: string;
  readonly statement: string;
  readonly valid_from: string | null;
  readonly evidence: readonly { readonly event_id: string; readonly quote: string }[];
  readonly source_role: 'user' | 'tool' | 'agent';
  readonly stated_or_inferred: 'stated' | 'inferred';
  readonly confidence: 'low' | 'medium' | 'high';
  readonly scope: 'user' | 'agent' | 'workspace';
}

type Claim = Pick<Candidate, 'type' | 'subject' | 'attribute' | 'value' | 'statement' | 'scope'>;

interface Rule {
  readonly says: RegExp;
  claim(match: RegExpExecArray): Claim;
}

const aboutUser = (type: string, attribute: string, value: string, statement: string): Claim => ({ type, subject: 'user', attribute, value, statement, scope: 'user' });

const RULES: readonly Rule[] = [
  { says: /\b[Mm]y name is (\p{Lu}[\p{L}'-]+(?: \p{Lu}[\p{L}'-]+)*)/u, claim: ([, name = '']) => aboutUser('fact', 'name', name, `The user's name is ${name}.`) },
  { says: /\b[Cc]all me (\p{Lu}[\p{L}'-]+)/u, claim: ([, name = '']) => aboutUser('preference', 'form_of_address', name, `The user wants to be called ${name}.`) },
  { says: /\bI(?:'d| would)? prefer (.+)/i, claim: ([, what = '']) => aboutUser('preference', topicOf(what), what, `The user prefers ${what}.`) },
  { says: /\bplease (always|never) (.+)/i, claim: ([, when = '', what = '']) => aboutUser('constraint', `${when.toLowerCase()}_${slug(what)}`, what, `The user asks to ${when.toLowerCase()} ${what}.`) },
  { says: /\bwe(?:'re| are) (?:now )?on the (.+?) plan\b/i, claim: ([, plan = '']) => aboutUser('fact', 'plan', plan, `The user is on the ${plan} plan.`) },
  { says: /^(?:an? |the )?(.{2,60}?) (?:means|is defined as) (.+)/i, claim: ([, term = '', meaning = '']) => ({ type: 'fact', subject: slug(term), attribute: 'definition', value: meaning, statement: `${capital(term)} means ${meaning}.`, scope: 'workspace' }) },
  { says: /\b(?:our|my) (?!name\b)([\p{L}\p{N} _-]{2,40}?) (?:is|are) (.+)/iu, claim: ([, what = '', value = '']) => aboutUser('fact', slug(what), value, `The user's ${what} is ${value}.`) },
  { says: /\b(?:we use|I use|we run|I run|I'm using|we're using) (.+)/i, claim: ([, what = '']) => aboutUser('fact', 'uses', what, `The user uses ${what}.`) },
  { says: /\bversion (\d[\w.-]*)/i, claim: ([, version = '']) => aboutUser('fact', 'version', version, `The user is on version ${version}.`) },
  { says: /\border (?:number |no\.? )?#?([A-Z]*-?\d[\w-]*)/i, claim: ([, order = '']) => aboutUser('fact', 'order_number', order, `The user asked about order ${order}.`) },
];

/** Memories in what the user said in one event. Questions claim nothing. */
export function candidatesOf(event: TranscriptEvent): Candidate[] {
  return sentencesOf(event.text).filter((sentence) => !sentence.endsWith('?')).flatMap((sentence) => {
    const bare = sentence.replace(/[.!]+$/, '');
    const claims = RULES.flatMap((rule) => {
      const match = rule.says.exec(bare);
      return match ? [rule.claim(match)] : [];
    });
    return claims.map((claim): Candidate => ({
      ...claim,
      value: claim.value.slice(0, 200),
      statement: claim.statement.slice(0, 300),
      valid_from: /\b(?:since|from|as of) (\d{4}-\d{2}-\d{2})\b/.exec(sentence)?.[1] ?? null,
      evidence: [{ event_id: event.id, quote: sentence }],
      source_role: 'user',
      stated_or_inferred: 'stated',
      confidence: 'high',
    }));
  });
}

/** What a model proposes too, and should not: a guess about the user's mood, and what a tool returned. */
export function poorCandidates(events: readonly TranscriptEvent[]): Candidate[] {
  const said = events.findLast((event) => event.role === 'user');
  const returned = events.findLast((event) => event.role === 'tool');
  const guess: Candidate[] = said ? [{
    ...aboutUser('preference', 'mood', 'impatient', 'The user is probably in a hurry today.'),
    valid_from: null, evidence: [{ event_id: said.id, quote: sentencesOf(said.text)[0] ?? said.text }], source_role: 'agent', stated_or_inferred: 'inferred', confidence: 'low',
  }] : [];
  const line = returned?.text.slice(0, 160) ?? '';
  const outcome: Candidate[] = returned && line !== '' ? [{
    type: 'outcome', subject: 'run', attribute: 'tool_result', value: line, statement: `A tool returned ${line}`,
    valid_from: null, evidence: [{ event_id: returned.id, quote: line }], source_role: 'tool', stated_or_inferred: 'inferred', confidence: 'medium', scope: 'user',
  }] : [];
  return [...guess, ...outcome];
}

/** What a preference is about, so that a later one on the same thing replaces it. */
function topicOf(what: string): string {
  const topics: readonly (readonly [RegExp, string])[] = [
    [/\b(e-?mail|phone|telephone|call|chat|sms|text message|slack)\b/i, 'contact_channel'],
    [/\b(morning|afternoon|evening|monday|tuesday|wednesday|thursday|friday|weekend)s?\b/i, 'contact_time'],
    [/\b(english|german|french|spanish|italian|portuguese|dutch|japanese|chinese)\b/i, 'language'],
    [/\b(short|brief|concise|long|detailed|bullet)\b/i, 'answer_style'],
    [/\b(dark|light) (mode|theme)\b/i, 'theme'],
    [/\b(csv|excel|pdf|json|spreadsheet|chart|table)s?\b/i, 'format'],
  ];
  return topics.find(([pattern]) => pattern.test(what))?.[1] ?? `preference_${slug(what)}`;
}

const slug = (text: string): string => text.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.slice(0, 4).join('_') ?? 'other';
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
