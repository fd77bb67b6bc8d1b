# Figures and pages of `snakemake --report`: a rule each, from the tables in workflow/report.

import yaml

FIGURES, PAGES = (
    yaml.safe_load((REPO_ROOT / "workflow" / "report" / name).read_text(encoding="utf-8"))
    for name in ["figures.yaml", "pages.yaml"]
)
# Of a study of group attention, they hold that of the mechanism, too.
GATES = {"soft": "soft_gates", "group_value": "group_gates"}


report: "../report/workflow.rst"


for family, figures in FIGURES.items():

    # As SVG and PNG, by one process; every one carries the study's validity.
    rule:
        name:
            f"plot_{family}"
        input:
            **{
                f"{figure}_{name}": each(patterns)
                for figure, entry in figures.items()
                for name, patterns in entry["inputs"].items()
            },
            validity=f"results/{{study}}_{GATES.get(family, 'validity')}.csv",
        output:
            **{
                f"{name}_svg": in_report(
                    f"results/figures/{{study}}_{name}.svg", "figures", name, entry
                )
                for name, entry in figures.items()
            },
            **{f"{figure}_png": f"results/figures/{{study}}_{figure}.png" for figure in figures},
        log:
            f"results/logs/plot_{family}/{{study}}.log",
        conda:
            "../../envs/environment.yaml"
        params:
            study=study_of,
            figures=figures,
            settings=settings_of([key for f in figures.values() for key in f.get("settings", [])]),
        script:
            "../../scripts/plot.py"


for family, pages in PAGES.items():

    # Tables that sort and filter, under the banner of their study.
    rule:
        name:
            f"report_{family}"
        input:
            **{page: each(entry["inputs"]) for page, entry in pages.items()},
            gates=f"results/{{study}}_{GATES.get(family, 'validity')}.csv",
        output:
            **{
                page: in_report(f"results/report/{{study}}_{page}.html", "pages", page, entry)
                for page, entry in pages.items()
            },
        log:
            f"results/logs/report_{family}/{{study}}.log",
        localrule: True
        conda:
            "../../envs/environment.yaml"
        params:
            pages={
                page: (entry.get("page", "table_page"), entry["title"])
                for page, entry in pages.items()
            },
            settings=config if family == "configuration" else {},
        script:
            "../../scripts/report.py"


# All of study 1, for the studies of the settings.
rule soft:
    input:
        [f"results/{study}_soft_{table}.csv" for study in config["run"] for table in SOFT_TABLES],
        shown("soft"),
