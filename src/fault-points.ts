// Places in the product where a process may die, stop or fail with the most to lose: between two writes that belong together,
// or between a call and its record. Here a point does nothing. The processes of the chaos harness get another module in this
// one's place (test/chaos/in-process.ts), which kills, stops, fails or blocks them at the point it was told.
export const FAULT_POINTS = {
  'run-submitted': 'The row of a run is committed, nobody was told of it.',
  'run-claimed': 'A run is claimed, none of its steps was called.',
  'intent-written': 'The intent of a tool call is on record, the call has not left.',
  'call-answered': 'A tool has answered, its result is not on record.',
  'result-written': 'The result of a tool call is on record, the step has not returned.',
  'budget-wanted': 'A call found no room in a budget and left word, its run is not parked.',
  'batch-joined': 'A model call waits for a batch, its run is not parked.',
  'batch-begun': 'A batch is on record with its items, it was not sent.',
  'batch-created': 'The provider has a batch, its id is not on record.',
  'batch-answered': 'A result of a batch was read, it is not settled.',
  'model-reserved': 'The reserve of a model call is booked, the call has not left.',
  'model-answered': 'The model has answered, its usage is not settled.',
  'model-settled': 'The usage of a model call and its answer are on record, the step has not returned.',
  'steers-taken': 'What the user said meanwhile is taken and on record, the model has not been told.',
  'wait-opened': 'A wait is on record, the run is not parked.',
  'child-submitted': 'A child is submitted, its parent has no record of it.',
  'step-returned': 'A step has returned, its checkpoint is not committed.',
  'checkpoint-committed': 'A checkpoint is committed, the next step was not called.',
  'run-left': 'A run has ended or parked, those it concerns were not told.',
  'orphans-found': 'The runs of a dead worker are known, they were not offered.',
  'verdicts-stored': 'What a run taught is stored, its vectors are not in the index.',
  'vectors-written': 'Vectors are in the index, their rows are not marked.',
  'outputs-kept': 'Long answers of a run’s tools are stored to be searched, the step that did it has no record of it.',
  'occurrence-fired': 'An occurrence of a schedule has its run, nobody was told of it.',
} as const;
export type FaultPoint = keyof typeof FAULT_POINTS;

export const faultPoint = (_point: FaultPoint): void => undefined;
