// The package's front door and its only barrel: what a user writes agents and machines with, the types that appear in their
// code, and the client. What is not here is not promised to stay as it is.
export { defineMachine, type MachineOptions } from './run/define-machine.ts';
export { agentInput, type AgentInput } from './run/agent-data.ts';
export { defineAgent, type AgentOptions } from './run/define-agent.ts';
export { defineTool, type ToolOptions } from './tools/define-tool.ts';
export { agentTool, type AgentToolOptions } from './tools/agent-tool.ts';
export { documentTool, type DocumentToolOptions } from './tools/document-tool.ts';
export { httpTool, type HttpCall, type HttpToolOptions } from './tools/http-tool.ts';
export { connectMcp, pinOf, type McpConnection, type McpServer } from './tools/mcp.ts';
export { MainstayError, isMainstayError, ERRORS, type ErrorCode } from './domain/errors.ts';
export type { ApprovalDecision, ApprovalRequest, ChildOptions, ChildResult, ChildRun, Machine, Migration, Move, Recall, RecalledMemory, RecalledSummary, RunInfo, SessionMessage, SignalReceived, Step } from './domain/machine.ts';
export type { DocumentSearch, Tool, ToolContext } from './domain/tool.ts';
export type { FoundPassages, Passage } from './domain/wire-documents.ts';
export type { FoundSummaries } from './domain/wire-summaries.ts';
export type { Json } from './domain/json.ts';
export type { ModelMessage, ModelRequest, ModelTool, ModelTurn } from './domain/model.ts';
export type { SessionState } from './domain/session.ts';
export type { MultitaskStrategy, RunStatus, Scope, ToolEffect, WaitReason } from './domain/status.ts';
export { Mainstay, MainstayApiError, type MainstayOptions } from './client/client.ts';
export type { Agent, Approval, Memory, Message, ModelCall, NewRunBody, NewScheduleBody, Occurrence, Page, RetrievalTrace, Run, RunEvent, RunExplanation, RunItem, RunMemories, RunStep, Schedule, Session, ToolCall, UnsettledCall, Usage, Verdict } from './domain/wire.ts';
