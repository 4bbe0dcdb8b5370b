// Checkpoints by hand for queues that have none: one row and one commit a step.
import pg from 'pg';

export async function createStepTable(url) {
  const client = new pg.Client(url);
  await client.connect();
  await client.query('CREATE TABLE step_result (run text, step int, result jsonb NOT NULL, PRIMARY KEY (run, step))');
  await client.end();
}

export const durableBy = (pool) => async (run) => {
  const { rows } = await pool.query({ name: 'load-steps', text: 'SELECT step FROM step_result WHERE run = $1', values: [run] });
  const saved = new Set(rows.map((row) => row.step));
  return {
    step: async (k, body) => {
      if (saved.has(k)) return;
      const result = await body();
      await pool.query({ name: 'save-step', text: 'INSERT INTO step_result VALUES ($1, $2, $3)', values: [run, k, JSON.stringify(result)] });
    },
  };
};
