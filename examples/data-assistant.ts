// Use case 2: a data assistant that learns a team's definitions ("an active customer means …") and query patterns, and uses
// them in the next question. What its user may not read it is refused, and every access leaves an audit row.
import { defineAgent } from '../src/run/define-agent.ts';
import { describeDataset, runQuery } from './data-tools.ts';

export const dataAssistant = (dataSourceUrl: string) => defineAgent({
  name: 'data-assistant',
  version: 1,
  description: 'Answers questions about datasets with the definitions of the team.',
  instructions: `You are a data assistant. Datasets: sales, payroll.
Describe a dataset before you query it. Use the team's definitions you know from earlier conversations, and cite them.
When a dataset is refused, say so and do not try another way. Answer with the number and the query you ran.`,
  tools: [describeDataset(dataSourceUrl), runQuery(dataSourceUrl)],
  limits: { maxTurns: 8, budgetMicroUsd: 500_000n },
});
