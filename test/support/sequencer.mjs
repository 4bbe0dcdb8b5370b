// The longest files first: whichever begins last would else keep one of the two workers busy alone. A fresh clone knows no times yet,
// and jest then goes by the size of the files, which says nothing about those that start fleets.
import Sequencer from '@jest/test-sequencer';

const LONGEST = ['chaos/short', 'faults/short', 'stories/any-kill-leaves-a-valid-transcript', 'guards', 'interleavings/statements'];
const place = ({ path }) => { const at = LONGEST.findIndex((name) => path.endsWith(`/test/${name}.test.ts`)); return at < 0 ? LONGEST.length : at; };

export default class extends Sequencer {
  sort(tests) { return super.sort(tests).toSorted((a, b) => place(a) - place(b)); }
}
