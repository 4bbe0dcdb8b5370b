// Screening: text that wants to steer the agent does not become memory. Filters on words alone fail against a patient
// attacker, so the first rule is about origin: what a tool returned may become a fact or an outcome, never a preference, a
// constraint or a procedure, and what everybody will read must come from a user. Nothing is thrown away here: quarantine.
import { hidesSomething } from './gate-words.ts';
import type { Decided } from './gate-input.ts';
import type { Candidate } from './memory.ts';
import type { MemoryType, SourceRole } from './status.ts';
import type { TranscriptEvent } from './transcript.ts';

/** What words of this origin may become. The agent's own conclusions on the rest go to confidence, which never admits them. */
const ALLOWED: Readonly<Record<SourceRole, readonly MemoryType[]>> = {
  user: ['preference', 'fact', 'decision', 'constraint', 'outcome', 'procedure'],
  tool: ['fact', 'outcome'],
  document: ['fact'],
  agent: ['fact', 'outcome', 'decision'],
};
export const mayBecome = (source: SourceRole, type: MemoryType): boolean => ALLOWED[source].includes(type);

/** Nobody says this about himself, not even a user: it is addressed to the machinery. */
const OVERRIDES: readonly RegExp[] = [
  /\b(?:ignore|disregard|forget|override|bypass|skip|drop)\b.{0,30}\b(?:previous|prior|above|earlier|all|any|your|the|these|system|safety|security)\b.{0,20}\b(?:instructions?|rules?|prompts?|guidelines?|polic(?:y|ies)|constraints?|messages?|memor(?:y|ies)|checks?|guardrails?|approvals?|permissions?)\b/i,
  /\b(?:system|developer|hidden|initial)[ _-]?(?:prompt|message|instructions?)\b/i,
  /\b(?:you are now|from now on,? you|act as|pretend (?:to be|you)|role-?play as|developer mode|jailbreak|do anything now|god mode)\b/i,
  /\b(?:reveal|print|repeat|output|leak|exfiltrate|disclose)\b.{0,40}\b(?:prompt|instructions?|secrets?|keys?|credentials?|passwords?|memor(?:y|ies)|other (?:users?|customers?|tenants?))\b/i,
  /\b(?:new|updated|revised|admin(?:istrator)?|operator|anthropic|openai)\s+(?:system )?(?:instructions?|override|directive|policy)\s*:/i,
  /<\/?\s*(?:system|assistant|user|human|tool|instructions?|memor(?:y|ies)|transcript|antml|im_start|im_end)\b[^>]*>|<\|[^|]*\|>|\[\/?(?:INST|SYS|SYSTEM)\]|^#{1,6}\s*(?:system|instructions?)\b/im,
  /(?:^|[\s"'“(])(?:SYSTEM|DEVELOPER|ASSISTANT|ADMIN)\s*:/,
  /\[m:|\[e\d+ |\btool_use\b|\bfunction_call\b/i,
  /\b(?:remember|store|save|memori[sz]e|record)\b.{0,20}\b(?:this|that|the following)\b.{0,40}\b(?:for (?:all|every)|in (?:all|every|future)|permanently|forever|as (?:a )?(?:rule|fact|instruction))\b/i,
  /\b(?:do not|don't|never)\s+(?:tell|inform|alert|notify|mention (?:this )?to|ask)\b.{0,20}\b(?:the )?(?:users?|customers?|anyone|humans?|operators?|admins?)\b/i,
];
/** Orders. From a user they are what preferences and constraints are made of; from anywhere else they are somebody else's will. */
const ORDERS: readonly RegExp[] = [
  /\b(?:you|the (?:agent|assistant|ai|bot|model|system)|agents|assistants|(?:ai|language) models?|llms?)\s+(?:must|should|shall|have to|need to|needs to|are to|is to|ought to|may only|can only|are required|is required|will (?:always|never|now))\b/i,
  /\b(?:always|never|whenever|every time|from now on|in future|going forward|henceforth|make sure|be sure|ensure|remember to|do not|don't|under no circumstances)\b.{0,60}\b(?:call|use|send|forward|email|e-mail|mail|reply|respond|answer|say|tell|recommend|mention|include|add|append|cc|bcc|copy|visit|open|click|run|execute|delete|remove|transfer|pay|approve|refund|grant|share|upload|post|ignore|trust|prefer|avoid|refuse|escalate|bypass|skip|disable|install|download|confirm|treat|assume)\b/i,
  /(?:^|[.!?:;,"'“]\s*|\bplease\s+|\bthen\s+|\bto\s+proceed,?\s+)(?:call|send|forward|email|reply|respond|visit|click|run|execute|delete|transfer|pay|approve|refund|grant|upload|ignore|install|download|escalate|disregard|disable|wire)\s+(?:the|a|an|all|any|this|that|these|your|it|to|with|every|user|customer|\$|€|\d)/i,
  /\b(?:prefers?|wants?|expects?|asks?|requests?|requires?|would like)\s+(?:that\s+)?you\b/i,
  /\bremember (?:this|that)\b/i,
];
const LINK = /\b(?:https?|ftp|file|data|javascript|mailto):|\bwww\.|\b[\w-]+\.(?:com|net|org|io|ai|dev|ru|cn|xyz|top|app|info|biz)\b(?:\/|\b)/i;

export function screening(candidate: Candidate, source: SourceRole, events: readonly TranscriptEvent[]): Decided | undefined {
  const kept = [candidate.statement, candidate.value, candidate.subject, candidate.attribute];
  const all = [...kept, ...candidate.evidence.map((line) => line.quote)];
  if (all.some(hidesSomething)) return quarantine('HIDDEN_TEXT');
  if (matches(OVERRIDES, all)) return quarantine('INSTRUCTION');
  if ((source === 'tool' || source === 'document') && !mayBecome(source, candidate.type)) return quarantine('SOURCE_TYPE');
  // a note is for whoever finds its document: that was decided by whoever added it
  if (source !== 'user' && source !== 'document' && candidate.scope !== 'user') return quarantine('SOURCE_SCOPE');
  if (source === 'user') return undefined;
  // An agent's text may repeat what a tool told it, so both are read with the same suspicion.
  if (matches(ORDERS, all)) return quarantine('INSTRUCTION');
  if (matches([LINK], kept)) return quarantine('LINK');
  const tools = new Set(events.flatMap((event) => (event.tool?.includes('_') ? [event.tool.toLowerCase()] : [])));
  if ([...tools].some((tool) => kept.some((text) => text.toLowerCase().includes(tool)))) return quarantine('TOOL_NAME');
  return undefined;
}

/** Of words that no gate has judged, a summary's: whether they read like somebody's will, hide something or lead elsewhere. */
export const wantsToSteer = (text: string): boolean => hidesSomething(text) || matches([...OVERRIDES, ...ORDERS, LINK], [text]);

const matches = (patterns: readonly RegExp[], texts: readonly string[]): boolean => texts.some((text) => patterns.some((pattern) => pattern.test(text)));

const quarantine = (reason: string): Decided => ({ decision: 'QUARANTINE', reason });
