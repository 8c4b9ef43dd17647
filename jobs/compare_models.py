"""Compare the models: collect their answers, and copy the photos that they disagree about."""

from etlkit import Task, Workflow
from jobs import disagreements, label_terms, model_agreement, model_answers

job = Workflow(
    tasks=[
        Task("answers", model_answers.job),
        Task("terms", label_terms.job),
        Task("agreement", model_agreement.job, after=("answers", "terms")),
        Task("disagreements", disagreements.job, after="agreement"),
    ],
    variables={**model_agreement.job.variables, **disagreements.job.variables},
)
