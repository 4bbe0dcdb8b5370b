"""A producer in another language: adds one job to a queue with PyPI's bullmq and prints what became of it, as JSON.

argv: redis url, BullMQ prefix, queue name, job id or '-', payload as JSON."""
import asyncio
import json
import sys

from bullmq import Queue


async def main(url: str, prefix: str, name: str, job_id: str, payload: str) -> None:
    queue = Queue(name, {"connection": url, "prefix": prefix})
    job = await queue.add("run", json.loads(payload), {} if job_id == "-" else {"jobId": job_id})
    for _ in range(400):
        state = await queue.getJobState(job.id)
        if state in ("completed", "failed"):
            break
        await asyncio.sleep(0.025)
    raw = await queue.client.hgetall(f"{prefix}:{name}:{job.id}")
    fields = {(k.decode() if isinstance(k, bytes) else k): (v.decode() if isinstance(v, bytes) else v) for k, v in raw.items()}
    print(json.dumps({"state": state, "id": job.id, "returned": json.loads(fields.get("returnvalue", "null")), "reason": fields.get("failedReason")}))
    await queue.close()


asyncio.run(main(*sys.argv[1:]))
